//! The description of this door for tools, as Swagger 2.0: only what this server answers.
//!
//! Source: Kinto fact sheet, section 20. Names of operations and tags are those that generated
//! clients of Kinto call. What is written twice elsewhere is a definition, parameter or response
//! here, and referred to.

mod shared;

use nuage_model::Kind;
use serde_json::{Map, Value, json};

use crate::Features;
use crate::utilities::HTTP_API_VERSION;

const JSON: &str = "application/json";
const ETAG_PATTERN: &str = "^(\"[0-9]+\"|\\*)$";
const BATCH_METHODS: [&str; 7] = ["GET", "HEAD", "DELETE", "TRACE", "POST", "PUT", "PATCH"];

/// Where the server is reached, as its clients see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address<'a> {
    /// `http` or `https`.
    pub(crate) scheme: &'a str,
    /// Name and port.
    pub(crate) host: &'a str,
}

/// A kind of objects that has a list and an endpoint for each.
struct Resource {
    kind: Kind,
    tag: &'static str,
    plural: &'static str,
    list: &'static str,
    parents: &'static [&'static str],
}

const RESOURCES: &[Resource] = &[
    Resource {
        kind: Kind::Bucket,
        tag: "Buckets",
        plural: "buckets",
        list: "/buckets",
        parents: &[],
    },
    Resource {
        kind: Kind::Collection,
        tag: "Collections",
        plural: "collections",
        list: "/buckets/{bucket_id}/collections",
        parents: &["bucket_id"],
    },
    Resource {
        kind: Kind::Group,
        tag: "Groups",
        plural: "groups",
        list: "/buckets/{bucket_id}/groups",
        parents: &["bucket_id"],
    },
    Resource {
        kind: Kind::Record,
        tag: "Records",
        plural: "records",
        list: "/buckets/{bucket_id}/collections/{collection_id}/records",
        parents: &["bucket_id", "collection_id"],
    },
    Resource {
        kind: Kind::Account,
        tag: "Accounts",
        plural: "accounts",
        list: "/accounts",
        parents: &[],
    },
];

/// The document, as JSON text.
pub(crate) fn document(title: &str, features: Features, address: Address<'_>) -> String {
    let resources =
        || RESOURCES.iter().filter(|resource| features.accounts || resource.kind != Kind::Account);
    let mut paths = Map::new();
    for resource in resources() {
        paths.insert(resource.list.to_owned(), list_path(resource));
        paths.insert(format!("{}/{{id}}", resource.list), object_path(resource));
        if resource.kind != Kind::Account {
            paths.insert(format!("{}/{{id}}/explain", resource.list), explain_path(resource));
        }
    }
    add_feed(&mut paths);
    add_utilities(&mut paths);
    if features.history {
        add_history(&mut paths);
    }
    if features.permissions {
        let permissions = read_list("Permissionss", "get_permissionss", "What you may do.");
        paths.insert("/permissions".to_owned(), json!({ "get": permissions }));
    }
    if features.flush {
        let answers = json!({ "202": done("Everything was deleted."), "default": error_ref() });
        let flush = operation("Flush", "create_flush", "Delete everything.", answers);
        paths.insert("/__flush__".to_owned(), json!({ "post": flush }));
    }
    if features.counters {
        let answers = json!({ "200": done("Numbers by kind."), "default": error_ref() });
        let counters = operation("Counters", "get_counters", "Count objects.", answers);
        paths.insert("/__counters__".to_owned(), json!({ "get": counters }));
    }
    let tags = tags(&paths);
    json!({
        "swagger": "2.0",
        "info": { "title": title, "version": HTTP_API_VERSION },
        "host": address.host,
        "schemes": [address.scheme],
        "basePath": "/v1",
        "consumes": [JSON],
        "produces": [JSON],
        "securityDefinitions": { "basicauth": { "type": "basic" } },
        "tags": tags,
        "paths": paths,
        "definitions": shared::definitions(resources()),
        "parameters": shared::parameters(),
        "responses": shared::responses(),
    })
    .to_string()
}

/// The tags in use, each once.
fn tags(paths: &Map<String, Value>) -> Vec<Value> {
    let mut names: Vec<&Value> = Vec::new();
    let operations = paths.values().filter_map(Value::as_object).flat_map(Map::values);
    for tag in operations.filter_map(|operation| operation.get("tags")?.get(0)) {
        if !names.contains(&tag) {
            names.push(tag);
        }
    }
    names.into_iter().map(|name| json!({ "name": name })).collect()
}

fn operation(tag: &str, id: &str, summary: &str, responses: Value) -> Value {
    json!({
        "tags": [tag],
        "operationId": id,
        "summary": summary,
        "produces": [JSON],
        "responses": responses,
        "security": [],
    })
}

fn secured(mut operation: Value, parameters: Vec<Value>) -> Value {
    operation["security"] = json!([{ "basicauth": [] }]);
    operation["parameters"] = parameters.into();
    operation
}

fn reference(section: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/{section}/{name}") })
}

fn error_ref() -> Value {
    reference("responses", "error")
}

fn done(description: &str) -> Value {
    json!({ "description": description, "schema": { "type": "object" } })
}

/// A success with the time of what it shows.
fn shown(description: &str, schema: Value) -> Value {
    json!({
        "description": description,
        "schema": schema,
        "headers": {
            "ETag": { "type": "string", "pattern": ETAG_PATTERN },
            "Last-Modified": { "type": "string" },
        },
    })
}

/// What every endpoint of a resource may answer beside its successes.
fn answers(successes: Value, refusals: &[&str]) -> Value {
    let mut answers = json!({ "default": error_ref() });
    for status in ["400", "401", "403", "406", "412"].iter().chain(refusals) {
        answers[*status] = reference("responses", status);
    }
    if let Value::Object(successes) = successes {
        for (status, success) in successes {
            answers[&status] = success;
        }
    }
    answers
}

const FILTERS: [&str; 9] =
    ["_limit", "_sort", "_token", "_since", "_to", "_before", "id", "last_modified", "_fields"];
const CONDITIONS: [&str; 2] = ["If-Match", "If-None-Match"];

fn named(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| reference("parameters", name)).collect()
}

fn path_parameters(names: &[&str]) -> Value {
    let parameter =
        |name: &&str| json!({ "name": name, "in": "path", "required": true, "type": "string" });
    names.iter().map(parameter).collect()
}

fn body(schema: Value) -> Value {
    json!({ "name": "body", "in": "body", "required": true, "schema": schema })
}

fn read_list(tag: &str, id: &str, summary: &str) -> Value {
    let list = shown("The objects that match.", reference("definitions", "list"));
    let answers = answers(json!({ "200": list }), &["304"]);
    let parameters = named(&FILTERS).into_iter().chain(named(&CONDITIONS)).collect();
    secured(operation(tag, id, summary, answers), parameters)
}

fn delete_list(tag: &str, id: &str, summary: &str) -> Value {
    let list = shown("The tombstones that were left.", reference("definitions", "list"));
    let parameters = named(&FILTERS).into_iter().chain(named(&CONDITIONS)).collect();
    secured(operation(tag, id, summary, answers(json!({ "200": list }), &[])), parameters)
}

fn list_path(resource: &Resource) -> Value {
    let Resource { kind, tag, plural, .. } = resource;
    let one = kind.as_str();
    let object = || shown("The object.", reference("definitions", one));
    let successes = json!({ "200": object(), "201": object() });
    let create = operation(
        tag,
        &format!("create_{one}"),
        &format!("Create a {one}."),
        answers(successes, &["415"]),
    );
    let mut parameters = vec![body(reference("definitions", one))];
    parameters.extend(named(&CONDITIONS));
    let mut path = json!({
        "get": read_list(tag, &format!("get_{plural}"), &format!("List {plural}.")),
        "post": secured(create, parameters),
        "delete": delete_list(tag, &format!("delete_{plural}"), &format!("Delete {plural}.")),
    });
    if !resource.parents.is_empty() {
        path["parameters"] = path_parameters(resource.parents);
    }
    path
}

fn object_path(resource: &Resource) -> Value {
    let Resource { kind, tag, parents, .. } = resource;
    let one = kind.as_str();
    let object = || shown("The object.", reference("definitions", one));
    let make = |verb: &str, summary: &str, successes: Value, refusals: &[&str]| {
        let summary = format!("{summary} a {one}.");
        operation(tag, &format!("{verb}_{one}"), &summary, answers(successes, refusals))
    };
    let with_body = |schema: Value, others: &[&str]| {
        let mut parameters = vec![body(schema)];
        parameters.extend(named(others));
        parameters
    };
    let get = make("get", "Show", json!({ "200": object() }), &["304", "404"]);
    let both = json!({ "200": object(), "201": object() });
    let put = make("update", "Create or replace", both, &["415"]);
    let mut patch = make("patch", "Change", json!({ "200": object() }), &["404", "415"]);
    patch["consumes"] =
        json!([JSON, "application/merge-patch+json", "application/json-patch+json"]);
    let delete = make("delete", "Delete", json!({ "200": object() }), &["404"]);
    let changes = ["If-Match", "If-None-Match", "Response-Behavior"];
    let names: Vec<&str> = parents.iter().chain(&["id"]).copied().collect();
    json!({
        "parameters": path_parameters(&names),
        "get": secured(get, named(&["_fields", "If-Match", "If-None-Match"])),
        "put": secured(put, with_body(reference("definitions", one), &CONDITIONS)),
        "patch": secured(patch, with_body(reference("definitions", "change"), &changes)),
        "delete": secured(delete, named(&CONDITIONS)),
    })
}

fn explain_path(resource: &Resource) -> Value {
    let Resource { kind, tag, parents, .. } = resource;
    let one = kind.as_str();
    let explanation = json!({
        "description": "What the principal may do with it, and why.",
        "schema": reference("definitions", "explanation"),
    });
    let answers = json!({
        "200": explanation,
        "400": reference("responses", "400"),
        "401": reference("responses", "401"),
        "403": reference("responses", "403"),
        "404": reference("responses", "404"),
        "default": error_ref(),
    });
    let summary =
        format!("Tell who may do what with a {one}, and why, to those who may change it.");
    let explain = operation(tag, &format!("explain_{one}"), &summary, answers);
    let names: Vec<&str> = parents.iter().chain(&["id"]).copied().collect();
    json!({
        "parameters": path_parameters(&names),
        "get": secured(explain, named(&["principal"])),
    })
}

fn add_feed(paths: &mut Map<String, Value>) {
    let answers = json!({
        "200": {
            "description": "What changed since the token, or a snapshot without one.",
            "schema": reference("definitions", "feed"),
        },
        "400": reference("responses", "400"),
        "401": reference("responses", "401"),
        "403": reference("responses", "403"),
        "404": reference("responses", "404"),
        "406": reference("responses", "406"),
        "default": error_ref(),
    });
    let summary = "Tell what changed in a collection, of what you may see: a page, or a stream.";
    let mut feed = operation("Records", "get_feed", summary, answers);
    feed["produces"] = json!([JSON, "text/event-stream", "application/x-ndjson"]);
    let parameters = ["token", "limit", "wait", "min", "digest", "Last-Event-ID"];
    paths.insert(
        "/buckets/{bucket_id}/collections/{collection_id}/feed".to_owned(),
        json!({
            "parameters": path_parameters(&["bucket_id", "collection_id"]),
            "get": secured(feed, named(&parameters)),
        }),
    );
}

fn add_utilities(paths: &mut Map<String, Value>) {
    let mut add = |path: &str, id: &str, summary: &str, answers: Value| {
        let get = operation("Utilities", id, summary, answers);
        paths.insert(path.to_owned(), json!({ "get": get }));
    };
    let answer = |text: &str| json!({ "200": done(text) });
    add("/", "server_info", "Describe the server.", answer("What the server is and can do."));
    add("/__api__", "get_openapi_spec", "Describe the endpoints.", answer("This document."));
    let lives = answer("The server answers.");
    add("/__lbheartbeat__", "__lbheartbeat__", "Tell whether the server answers.", lives);
    let works = json!({ "200": done("All parts work."), "503": done("A part does not work.") });
    add("/__heartbeat__", "__heartbeat__", "Tell whether all parts work.", works);
    let version = json!({
        "200": done("What is deployed."),
        "404": reference("responses", "404"),
    });
    add("/__version__", "__version__", "Tell which version is deployed.", version);
    add("/contribute.json", "contribute", "Name the project.", answer("What it is."));

    let answers = json!({
        "200": {
            "description": "One answer for each request, in order.",
            "schema": reference("definitions", "batch_answers"),
        },
        "400": reference("responses", "400"),
        "default": error_ref(),
    });
    let mut batch = operation("Batch", "batch", "Send several requests at once.", answers);
    batch["parameters"] = json!([body(reference("definitions", "batch"))]);
    paths.insert("/batch".to_owned(), json!({ "post": batch }));

    let gone = answers_of_erasure();
    let erase = operation("User-datas", "delete_user-data", "Erase what one user owns.", gone);
    paths.insert(
        "/__user_data__/{principal}".to_owned(),
        json!({
            "parameters": path_parameters(&["principal"]),
            "delete": secured(erase, Vec::new()),
        }),
    );
}

fn answers_of_erasure() -> Value {
    answers(json!({ "200": done("The principal that was erased.") }), &["404"])
}

fn add_history(paths: &mut Map<String, Value>) {
    let get = read_list("History", "get_history", "List changes of a bucket.");
    let delete = delete_list("History", "delete_history", "Purge the history of a bucket.");
    paths.insert(
        "/buckets/{bucket_id}/history".to_owned(),
        json!({ "parameters": path_parameters(&["bucket_id"]), "get": get, "delete": delete }),
    );
    let answers = json!({
        "200": {
            "description": "The records as they were.",
            "schema": reference("definitions", "list"),
        },
        "400": reference("responses", "400"),
        "401": reference("responses", "401"),
        "403": reference("responses", "403"),
        "default": error_ref(),
    });
    let summary = "Show the records of a collection at an earlier time.";
    let snapshot = operation("History_snapshot", "get_history_snapshot", summary, answers);
    paths.insert(
        "/buckets/{bucket_id}/snapshot/collections/{collection_id}@{timestamp}".to_owned(),
        json!({
            "parameters": path_parameters(&["bucket_id", "collection_id", "timestamp"]),
            "get": secured(snapshot, named(&["_limit", "_token"])),
        }),
    );
}

#[cfg(test)]
mod tests;
