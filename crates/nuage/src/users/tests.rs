#![allow(clippy::unwrap_used)]

use nuage_model::{Bodies, RecordPath};

use crate::cli::{PasswordSource, UserVerb};
use crate::data::open_or_make;
use crate::data::tests::settings_in;
use crate::users::{check_name, create_or_reset, perform};

#[test]
fn names_are_those_of_kinto() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings_in(folder.path());
    for good in ["alice", "a", "0", "alice+x@example.org", "a_b-c.d"] {
        check_name(good, &settings).unwrap();
    }
    let long = "a".repeat(513);
    for bad in ["", "@alice", "_a", "al ice", "a/b", "a:b", "é", &long] {
        check_name(bad, &settings).unwrap_err();
    }
}

#[tokio::test]
async fn accounts_are_made_reset_and_deleted_as_the_door_does() {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings_in(folder.path());
    let path = RecordPath::account("alice");
    let read = async || {
        let store = open_or_make(&settings.storage).await.unwrap();
        let record = store.get(std::slice::from_ref(&path), Bodies::All).await.unwrap().remove(0);
        assert_eq!(store.admin().check().await.unwrap(), Vec::new());
        store.close().await;
        record
    };
    let refused = create_or_reset("alice", Some("one".to_owned()), false, &settings).await;
    assert!(refused.unwrap_err().to_string().contains("--create"));
    create_or_reset("alice", Some("one".to_owned()), true, &settings).await.unwrap();
    let first = read().await.unwrap();
    assert!(first.body().starts_with("{\"password\":\"$argon2id$"));
    assert_eq!(first.permissions(), r#"{"write":["account:alice"]}"#);
    create_or_reset("alice", Some("two".to_owned()), false, &settings).await.unwrap();
    let second = read().await.unwrap();
    assert!(second.seq > first.seq && second.body() != first.body());

    let generate = PasswordSource { password_stdin: false, generate: true };
    let add = UserVerb::Add { name: "alice".to_owned(), password: generate.clone(), create: false };
    let refused = perform(add, &settings, false).await.unwrap_err();
    assert!(refused.to_string().contains("is there already"));
    let delete = || UserVerb::Delete { name: "alice".to_owned() };
    perform(delete(), &settings, false).await.unwrap();
    assert!(!read().await.unwrap().is_live());
    perform(delete(), &settings, false).await.unwrap_err();
    let passwd = UserVerb::Passwd { name: "alice".to_owned(), password: generate.clone() };
    perform(passwd, &settings, false).await.unwrap_err();
    // A name may be taken again.
    let add = UserVerb::Add { name: "alice".to_owned(), password: generate, create: false };
    perform(add, &settings, false).await.unwrap();
    assert!(read().await.unwrap().is_live());
}
