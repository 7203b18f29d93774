//! More hints than anybody can hear.

#![allow(clippy::unwrap_used)]

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use nuage_model::Hint;
use tokio::sync::mpsc;

use crate::postgres::hints::news::News;
use crate::postgres::hints::{HEARD_MAX, Hints, note};

#[tokio::test]
async fn what_overflows_means_that_anything_changed() {
    let hints = Hints::new(1_000_000);
    let told = Arc::new(Mutex::new(Vec::new()));
    let listener = Arc::clone(&told);
    hints.listen(Arc::new(move |hint| listener.lock().unwrap().push(hint)));
    // Nobody listens to what he said himself.
    let own = News::default().to_text(&hints.process);
    for count in [HEARD_MAX, HEARD_MAX + 1] {
        told.lock().unwrap().clear();
        let before = hints.moves();
        let (heard, mut queue) = mpsc::channel(HEARD_MAX);
        let overflow = AtomicBool::new(false);
        for _ in 0..count {
            assert!(note(&heard, &overflow, &own));
        }
        drop(heard);
        hints.hear_all(&mut queue, &overflow).await;
        let everything =
            told.lock().unwrap().iter().filter(|hint| matches!(hint, Hint::Everything)).count();
        let is_more = count > HEARD_MAX;
        assert_eq!(everything > 0, is_more);
        assert_eq!(hints.moves() > before, is_more);
    }
}
