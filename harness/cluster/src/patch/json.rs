//! JSON patches as API servers carry them out, and what bounds them.

use json_patch::PatchOperation;
use serde_json::Value;

/// As many operations as real servers carry out.
const OPERATION_LIMIT: usize = 10_000;
/// How much a patch may copy and move inwards, in bytes: as much as a body may have.
const COPY_LIMIT: usize = 3 * 1024 * 1024;
/// How many maps and lists a patch may put inside each other: as many as are read
/// in a body.
const DEPTH_LIMIT: usize = 127;

/// A patch that is not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PatchError {
    #[error(transparent)]
    Failed(#[from] json_patch::PatchError),
    #[error("the allowed maximum operations in a JSON patch is {OPERATION_LIMIT}, got {0}")]
    TooManyOperations(usize),
    #[error("its copies and moves come to more than {COPY_LIMIT} bytes")]
    CopiesTooMuch,
    #[error("{path:?} would be nested more than {DEPTH_LIMIT} levels deep")]
    TooDeep { path: String },
}

/// Carries out a patch. A field which is absent passes the test that it is null,
/// by which clients add the first finalizer.
pub(crate) fn json(object: &mut Value, patch: &[PatchOperation]) -> Result<(), PatchError> {
    if patch.len() > OPERATION_LIMIT {
        return Err(PatchError::TooManyOperations(patch.len()));
    }
    let mut copied = 0;
    for operation in patch {
        copied += check(object, operation)?;
        if copied > COPY_LIMIT {
            return Err(PatchError::CopiesTooMuch);
        }
        let passes = match operation {
            PatchOperation::Test(test) if test.value.is_null() => {
                object.pointer(test.path.as_str()).is_none()
            }
            _ => false,
        };
        if !passes {
            json_patch::patch(object, std::slice::from_ref(operation))?;
        }
    }
    Ok(())
}

/// Checks how deep an operation nests, and tells how many bytes it copies.
fn check(object: &Value, operation: &PatchOperation) -> Result<usize, PatchError> {
    let (placed, copied) = match operation {
        PatchOperation::Add(add) => (&add.value, 0),
        PatchOperation::Replace(replace) => (&replace.value, 0),
        PatchOperation::Copy(copy) => match object.pointer(copy.from.as_str()) {
            Some(source) => (source, source.to_string().len()),
            None => return Ok(0),
        },
        // A move outwards makes nothing deeper. Others are counted like copies,
        // or looking how deep the moved value is would take for ever.
        PatchOperation::Move(step) if step.path.count() > step.from.count() => {
            match object.pointer(step.from.as_str()) {
                Some(source) => (source, source.to_string().len()),
                None => return Ok(0),
            }
        }
        PatchOperation::Move(_) | PatchOperation::Remove(_) | PatchOperation::Test(_) => {
            return Ok(0);
        }
    };
    let path = operation.path();
    if path.count() + depth(placed) > DEPTH_LIMIT {
        return Err(PatchError::TooDeep {
            path: path.to_string(),
        });
    }
    Ok(copied)
}

/// How many maps and lists are inside each other.
fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Object(fields) => fields.values().map(depth).max(),
        Value::Array(elements) => elements.iter().map(depth).max(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return 0,
    };
    1 + inner.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn patched(mut object: Value, patch: Value) -> Result<Value, PatchError> {
        let patch: Vec<PatchOperation> = serde_json::from_value(patch).unwrap();
        json(&mut object, &patch).map(|()| object)
    }

    #[test]
    fn copies_have_a_limit() {
        let object = json!({"data": "x".repeat(1000)});
        let doubling = (0..40)
            .map(|number| json!({"op": "copy", "from": "", "path": format!("/c{number}")}))
            .collect();
        let refused = patched(object, doubling).unwrap_err();
        assert!(matches!(refused, PatchError::CopiesTooMuch), "{refused}");
    }

    #[test]
    fn operations_have_a_limit() {
        let tests = |count| {
            let test = json!({"op": "test", "path": "/a", "value": 1});
            patched(json!({"a": 1}), vec![test; count].into())
        };
        assert!(tests(OPERATION_LIMIT).is_ok());
        let refused = tests(OPERATION_LIMIT + 1).unwrap_err();
        assert!(
            matches!(refused, PatchError::TooManyOperations(_)),
            "{refused}"
        );
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(Value::Null, |inner, _| json!({"a": inner}))
    }

    /// A pointer to the innermost value of [`nested`].
    fn innermost(levels: usize) -> String {
        "/a".repeat(levels)
    }

    #[test]
    fn a_patch_nests_as_deep_as_a_body_may() {
        let deepest = nested(DEPTH_LIMIT);
        let read = |value: &Value| serde_json::from_str::<Value>(&value.to_string());
        assert_eq!(read(&deepest).unwrap(), deepest);
        assert!(read(&nested(DEPTH_LIMIT + 1)).is_err());

        let into = |levels, value: Value| {
            let place = json!({"op": "replace", "path": innermost(levels), "value": value});
            patched(nested(levels), json!([place]))
        };
        assert_eq!(into(100, nested(27)).unwrap(), deepest);
        for (levels, value) in [
            (100, nested(28)),
            (127, json!([])),
            (100, json!([nested(27)])),
        ] {
            let refused = into(levels, value).unwrap_err();
            assert!(matches!(refused, PatchError::TooDeep { .. }), "{refused}");
        }
    }

    #[test]
    fn no_number_of_steps_nests_deeper() {
        let half = nested(100);
        for (operation, from) in [("copy", "/from"), ("move", "/from"), ("add", "")] {
            let into = |levels| json!({"op": operation, "from": from, "path": format!("/to{}", innermost(levels)), "value": half});
            let object = json!({"from": half, "to": half});
            let refused = patched(object.clone(), json!([into(100)])).unwrap_err();
            assert!(matches!(refused, PatchError::TooDeep { .. }), "{refused}");
            assert!(patched(object, json!([into(20)])).is_ok(), "{operation}");
        }
        let deeper = (0..200).map(|_| json!({"op": "copy", "from": "", "path": "/a"}));
        let refused = patched(json!({}), deeper.collect()).unwrap_err();
        assert!(matches!(refused, PatchError::TooDeep { .. }), "{refused}");
    }

    fn operation() -> impl Strategy<Value = Value> {
        let name = prop::sample::select(&["add", "replace", "copy", "move", "remove", "test"][..]);
        let place = || "(/[ab0-]){0,4}";
        (name, place(), place(), 0..60_usize).prop_map(|(name, path, from, levels)| {
            json!({"op": name, "path": path, "from": from, "value": nested(levels)})
        })
    }

    proptest! {
        #[test]
        fn whatever_is_built_can_be_read(patch in prop::collection::vec(operation(), 0..30)) {
            let patch: Vec<PatchOperation> = serde_json::from_value(patch.into()).unwrap();
            let mut object = json!({"a": {"b": [{}]}, "b": {}});
            // Whether it is carried out to the end is beside the point.
            drop(json(&mut object, &patch));
            prop_assert!(depth(&object) <= DEPTH_LIMIT);
        }
    }
}
