//! What the paths of the document refer to: parameters, responses and definitions.

use nuage_model::Kind;
use serde_json::{Value, json};

use super::{BATCH_METHODS, ETAG_PATTERN, Resource, reference};
use crate::shape;

pub(super) fn parameters() -> Value {
    let number = |name: &str, description: &str| {
        json!({
            "name": name, "in": "query", "type": "integer", "format": "int64", "minimum": 0,
            "description": description,
        })
    };
    let text = |name: &str, description: &str| {
        json!({
            "name": name, "in": "query", "type": "string", "description": description,
        })
    };
    let list = |name: &str, description: &str| {
        json!({
            "name": name, "in": "query", "type": "array", "items": { "type": "string" },
            "collectionFormat": "csv", "description": description,
        })
    };
    let condition = |name: &str, description: &str| {
        json!({
            "name": name, "in": "header", "type": "string", "pattern": ETAG_PATTERN,
            "description": description,
        })
    };
    json!({
        "_limit": number("_limit", "The most objects on one page."),
        "_sort": list("_sort", "Fields to sort by; a minus sign reverses."),
        "_token": text("_token", "Where the previous page ended."),
        "_since": number("_since", "Only what changed after this time."),
        "_before": number("_before", "Only what changed before this time."),
        "_to": number("_to", "Old name of _before."),
        "_fields": list("_fields", "Fields to show; dots reach into objects."),
        "id": text("id", "Only the object with this identifier."),
        "last_modified": number("last_modified", "Only what changed at this time."),
        "principal": {
            "name": "principal", "in": "query", "type": "string", "required": true,
            "description": "Whom to explain it for: a user id, a group, system.Authenticated or \
                            system.Everyone.",
        },
        "token": text("token", "Where a feed goes on; the beginning without."),
        "limit": number("limit", "The most entries on one page of a feed."),
        "wait": number("wait", "Seconds to wait for something to tell."),
        "min": number("min", "A position that the answer must have seen."),
        "digest": {
            "name": "digest", "in": "query", "type": "boolean",
            "description": "Whether to tell number and sum of what is visible, at rest.",
        },
        "Last-Event-ID": {
            "name": "Last-Event-ID", "in": "header", "type": "string",
            "description": "The token of the last page of a stream; comes before the parameter.",
        },
        "If-Match": condition("If-Match", "Only if nothing changed since."),
        "If-None-Match": condition("If-None-Match", "Only if something changed, or is missing."),
        "Response-Behavior": {
            "name": "Response-Behavior", "in": "header", "type": "string",
            "enum": ["full", "light", "diff"],
            "description": "How much of the changed object is shown.",
        },
    })
}

pub(super) fn responses() -> Value {
    let refusal = |description: &str| {
        let schema = reference("definitions", "error");
        json!({ "description": description, "schema": schema })
    };
    json!({
        "304": {
            "description": "Nothing changed since.",
            "headers": {
                "ETag": { "type": "string", "pattern": ETAG_PATTERN },
                "Last-Modified": { "type": "string" },
            },
        },
        "400": refusal("Something in the request is invalid."),
        "401": refusal("Nobody is known under these credentials."),
        "403": refusal("This is not allowed."),
        "404": refusal("There is no such thing."),
        "406": refusal("Nothing that is accepted can be given."),
        "412": refusal("Something changed meanwhile, or exists already."),
        "415": refusal("The body is of a type that cannot be read."),
        "error": refusal("Anything else."),
    })
}

pub(super) fn definitions<'a>(resources: impl Iterator<Item = &'a Resource>) -> Value {
    let request = json!({
        "method": { "type": "string", "enum": BATCH_METHODS },
        "path": { "type": "string", "pattern": "^/" },
        "headers": { "type": "object", "additionalProperties": { "type": "string" } },
        "body": { "type": "object" },
    });
    let mut definitions = json!({
        "error": {
            "type": "object",
            "properties": {
                "code": { "type": "integer" },
                "errno": { "type": "integer" },
                "error": { "type": "string" },
                "message": { "type": "string" },
                "info": { "type": "string" },
                "details": {},
            },
            "required": ["code", "errno", "error"],
        },
        "explanation": explanation_definition(),
        "feed": feed_definition(),
        "list": {
            "type": "object",
            "properties": { "data": { "type": "array", "items": { "type": "object" } } },
        },
        "change": {
            "description": "Data and permissions, or a list of operations for a JSON Patch.",
        },
        "batch": {
            "type": "object",
            "properties": {
                "defaults": { "type": "object", "properties": request },
                "requests": {
                    "type": "array",
                    "items": { "type": "object", "properties": request },
                },
            },
            "required": ["requests"],
        },
        "batch_answers": {
            "type": "object",
            "properties": {
                "responses": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {
                            "status": { "type": "integer" },
                            "path": { "type": "string" },
                            "headers": { "type": "object" },
                            "body": {},
                        },
                        "required": ["status", "path"],
                    },
                },
            },
            "required": ["responses"],
        },
    });
    for resource in resources {
        definitions[resource.kind.as_str()] = object_definition(resource.kind);
    }
    definitions
}

fn feed_definition() -> Value {
    json!({
        "type": "object",
        "properties": {
            "data": {
                "description": "Records as in lists; what was deleted or may not be seen any more \
                                has only an id and \"deleted\": true.",
                "type": "array",
                "items": { "type": "object" },
            },
            "token": { "type": "string", "description": "Where to go on." },
            "more": { "type": "boolean", "description": "Whether there is more to tell already." },
            "reset": { "type": "boolean", "description": "Whether to begin with an empty mirror." },
            "digest": {
                "type": "object",
                "properties": {
                    "count": { "type": "integer" },
                    "sum": { "type": "integer", "format": "int64" },
                },
            },
        },
        "required": ["data", "token", "more", "reset"],
    })
}

fn explanation_definition() -> Value {
    let text = json!({ "type": "string" });
    let texts = json!({ "type": "array", "items": text });
    let right = json!({
        "type": "object",
        "properties": {
            "right": text,
            "allowed": {
                "type": "boolean",
                "x-nullable": true,
                "description": "null where it depends on a group that you may not look into",
            },
            "sentence": text,
            "grant": { "type": "object" },
            "chain": texts,
            "looked_at": { "type": "array", "items": { "type": "object" } },
        },
        "required": ["right", "sentence"],
    });
    json!({
        "type": "object",
        "properties": {
            "data": {
                "type": "object",
                "properties": {
                    "object": text,
                    "principal": text,
                    "rights": { "type": "array", "items": right },
                    "too_far": texts,
                },
                "required": ["object", "principal", "rights"],
            },
        },
    })
}

fn object_definition(kind: Kind) -> Value {
    let mapping = json!({ "type": "object" });
    let text = json!({ "type": "string" });
    let mut fields = match kind {
        Kind::Bucket => json!({
            "collection:schema": mapping, "group:schema": mapping, "record:schema": mapping,
        }),
        Kind::Collection => json!({
            "schema": mapping, "cache_expires": { "type": "integer" },
        }),
        Kind::Group => json!({ "members": { "type": "array", "items": text } }),
        Kind::Account => json!({ "password": text }),
        Kind::Record | Kind::History => json!({}),
    };
    fields["id"] = text.clone();
    fields["last_modified"] = json!({});
    let mut permissions = json!({});
    for name in shape::permission_names(kind) {
        permissions[*name] = json!({ "type": "array", "items": text });
    }
    json!({
        "type": "object",
        "properties": {
            "data": { "type": "object", "properties": fields },
            "permissions": { "type": "object", "properties": permissions },
        },
    })
}
