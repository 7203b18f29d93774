use crate::{Policy, PolicyKind, Secret, Settings, SettingsError};

fn check(policies: &[(&str, PolicyKind)]) -> Result<(), SettingsError> {
    let policies =
        policies.iter().map(|(name, kind)| Policy { name: (*name).to_owned(), kind: *kind });
    Settings { policies: policies.collect(), ..Settings::default() }.check()
}

#[test]
fn orders_that_work() {
    use PolicyKind::{Accounts, Basic};
    for policies in [
        &[][..],
        &[("account", Accounts)],
        &[("basicauth", Basic)],
        &[("account", Accounts), ("basicauth", Basic)],
    ] {
        assert_eq!(check(policies), Ok(()));
    }
}

#[test]
fn orders_that_do_not() {
    use PolicyKind::{Accounts, Basic};
    for (policies, sentence) in [
        (
            &[("basicauth", Basic), ("account", Accounts)][..],
            "authentication policy \"basicauth\" accepts every user name and password, so \
             \"account\" after it would never be asked: put \"account\" first",
        ),
        (
            &[("same", Accounts), ("same", Basic)],
            "two authentication policies have the name \"same\": give each its own",
        ),
        (
            &[("one", Accounts), ("two", Accounts)],
            "authentication policies \"one\" and \"two\" are of the same kind: keep one of them",
        ),
        (
            &[("a:b", Basic)],
            "\"a:b\" cannot name an authentication policy: it is empty or has a \":\" or \"/\"",
        ),
    ] {
        assert_eq!(check(policies).map_err(|error| error.to_string()), Err(sentence.to_owned()));
    }
}

#[test]
fn secrets_are_not_shown() {
    let settings =
        Settings { hmac_secret: Secret::from("b4c96a8692291d88"), ..Settings::default() };
    assert!(!format!("{settings:?}").contains("b4c96a"));
}
