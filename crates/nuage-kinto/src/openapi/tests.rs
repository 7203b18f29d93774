#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use super::*;

fn describe(features: Features) -> Value {
    let address = Address { scheme: "https", host: "example.org" };
    serde_json::from_str(&document("nuage", features, address)).unwrap()
}

fn everything() -> Features {
    Features::all()
}

fn operation_ids(document: &Value) -> BTreeSet<String> {
    let paths = document["paths"].as_object().unwrap().values();
    let operations = paths.flat_map(|path| path.as_object().unwrap().values());
    operations.filter_map(|o| Some(o.get("operationId")?.as_str()?.to_owned())).collect()
}

#[test]
fn names_the_operations_that_clients_call() {
    let ids = operation_ids(&describe(everything()));
    for one in ["bucket", "collection", "group", "record", "account"] {
        for id in [
            format!("get_{one}s"),
            format!("create_{one}"),
            format!("delete_{one}s"),
            format!("get_{one}"),
            format!("update_{one}"),
            format!("patch_{one}"),
            format!("delete_{one}"),
        ] {
            assert!(ids.contains(&id), "{id}");
        }
        assert_eq!(ids.contains(&format!("explain_{one}")), one != "account");
    }
    for id in [
        "batch",
        "server_info",
        "get_permissionss",
        "get_history",
        "delete_history",
        "get_history_snapshot",
        "create_flush",
        "get_counters",
        "get_openapi_spec",
        "get_feed",
        "contribute",
        "__heartbeat__",
        "__lbheartbeat__",
        "__version__",
        "delete_user-data",
    ] {
        assert!(ids.contains(id), "{id}");
    }
}

#[test]
fn leaves_out_what_is_switched_off() {
    let document = describe(Features::default());
    for path in ["/accounts", "/permissions", "/__flush__", "/buckets/{bucket_id}/history"] {
        assert!(document["paths"].get(path).is_none(), "{path}");
    }
    assert!(document["definitions"].get("account").is_none());
    let tags = document["tags"].as_array().unwrap();
    assert!(!tags.contains(&json!({ "name": "Accounts" })));
}

#[test]
fn every_reference_leads_somewhere() {
    let document = describe(everything());
    let mut open = vec![&document];
    let mut found = 0;
    while let Some(value) = open.pop() {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(reference)) = members.get("$ref") {
                    let pointer = reference.strip_prefix('#').unwrap();
                    assert!(document.pointer(pointer).is_some(), "{reference}");
                    found += 1;
                }
                open.extend(members.values());
            }
            Value::Array(items) => open.extend(items),
            _ => {}
        }
    }
    assert!(found > 100);
}

#[test]
fn path_parameters_are_those_of_the_path() {
    for (path, item) in describe(everything())["paths"].as_object().unwrap() {
        let named: BTreeSet<&str> =
            path.split('{').skip(1).filter_map(|part| part.split('}').next()).collect();
        let parameters = item.get("parameters").and_then(Value::as_array);
        let given: BTreeSet<&str> =
            parameters.into_iter().flatten().filter_map(|p| p["name"].as_str()).collect();
        assert_eq!(named, given, "{path}");
    }
}
