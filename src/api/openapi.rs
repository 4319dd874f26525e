//! `/openapi.json`: the table of routes, in the words of OpenAPI 3.1.

use serde_json::{Map, Value, json};

use super::routes::{Answer, ROUTES, Route, Verb};
use crate::store::DocumentState;

/// The objects that are answered.
const SCHEMAS: &str = include_str!("schemas.json");

/// The description of all routes.
pub fn description() -> Value {
    let mut paths = Map::new();
    for route in &ROUTES {
        let verb = match route.verb {
            Verb::Get => "get",
            Verb::Post => "post",
        };
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[verb] = operation(route);
    }
    // It is ours, and a test reads it.
    let schemas: Value = serde_json::from_str(SCHEMAS).unwrap_or_default();
    json!({
        "openapi": "3.1.0",
        "info": { "title": "nas-sync", "version": env!("CARGO_PKG_VERSION") },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(route: &Route) -> Value {
    let content = match route.answer {
        Answer::Object(name) => json!({ "application/json": { "schema": schema(name) } }),
        Answer::Text(media_type) => json!({ media_type: { "schema": { "type": "string" } } }),
    };
    let in_path = route.path.contains("{id}").then(|| parameter("id", "path"));
    let parameters: Vec<_> =
        in_path.into_iter().chain(route.parameters.iter().map(|name| parameter(name, "query"))).collect();
    let security = if route.open { json!([]) } else { json!([{ "token": [] }, {}]) };
    json!({
        "summary": route.summary,
        "operationId": route.path.replace(['/', '{', '}', '.'], " ").split_whitespace().collect::<Vec<_>>().join("_"),
        "parameters": parameters,
        "security": security,
        "responses": {
            "200": { "description": "What was asked for", "content": content },
            "default": {
                "description": "Why not",
                "content": { "application/problem+json": { "schema": schema("Problem") } },
            },
        },
    })
}

fn schema(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn parameter(name: &str, place: &str) -> Value {
    let (meaning, schema) = match name {
        "user_id" => ("Only documents of this user", json!({ "type": ["integer", "string"] })),
        "state" => {
            let states = DocumentState::ALL.map(DocumentState::as_str);
            ("Only documents that stand so", json!({ "type": "string", "enum": states }))
        }
        "limit" => ("How many at most", json!({ "type": "integer", "minimum": 1, "maximum": 1000, "default": 100 })),
        "overwrite" => ("Whether what is here and differs is replaced", json!({ "type": "boolean", "default": false })),
        "name" => ("Only documents with this in their name, in whatever case", json!({ "type": "string" })),
        _ => ("A document", json!({ "type": ["integer", "string"] })),
    };
    json!({ "name": name, "in": place, "required": place == "path", "description": meaning, "schema": schema })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        let description = description();
        let text = description.to_string();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(description["components"]["schemas"][name].is_object(), "{name}");
        }
        let routes: usize =
            description["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(routes, ROUTES.len());
    }
}
