//! A question on the page about the tables cannot be asked, or finds nothing.

use std::process::Command;

use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;

use crate::older_forms::data::{Data, Form};

both_databases!(the_questions_of_the_page_are_answered);

const PAGE: &str = include_str!("../../../docs/data-format.md");

fn the_questions_of_the_page_are_answered(backend: Backend) {
    let data = Data::of(Form::Second, backend);
    // Also brings it to the present form.
    data.expect_sound();
    let ask = |sql: &str| match &data.database {
        Some(database) => database.execute(sql),
        None => {
            let mut command = Command::new("sqlite3");
            command.arg("-readonly").arg(data.path().join("nuage.db")).arg(sql);
            let output = command.output().expect("sqlite3 is installed");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8(said).unwrap();
            assert!(output.status.success(), "{sql}\n{said}");
            said
        }
    };
    let questions: Vec<&str> =
        PAGE.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(questions.len(), 5);
    let answers: Vec<String> = questions.iter().map(|sql| ask(sql)).collect();
    for (question, answer) in questions.iter().zip(&answers) {
        assert!(!answer.trim().is_empty(), "nothing is found by {question}");
    }
    assert!(answers[0].contains("for-all") && answers[0].contains("account:"), "{}", answers[0]);
    assert_eq!(answers[1].trim(), "account:dave");
    assert!(answers[2].lines().any(|group| group == "editors"), "{}", answers[2]);
}
