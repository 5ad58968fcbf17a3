//! What is wrong with an object, field by field, as clients are told it.

/// One thing wrong with an object.
#[derive(Clone, Eq, PartialEq, Debug)]
pub(crate) struct Cause {
    pub(crate) reason: CauseReason,
    /// Path of the field: `spec.template.spec.containers[0].image`.
    pub(crate) field: String,
    pub(crate) message: String,
}

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum CauseReason {
    Required,
    Invalid,
    /// None of the values which the field may have.
    NotSupported,
    TooLong,
    TooMany,
    Forbidden,
    Duplicate,
    ManagerConflict,
}

impl CauseReason {
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::NotSupported => "FieldValueNotSupported",
            Self::TooLong => "FieldValueTooLong",
            Self::TooMany => "FieldValueTooMany",
            Self::Forbidden => "FieldValueForbidden",
            Self::Duplicate => "FieldValueDuplicate",
            Self::ManagerConflict => "FieldManagerConflict",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid => "Invalid value",
            Self::NotSupported => "Unsupported value",
            Self::TooLong => "Too long",
            Self::TooMany => "Too many",
            Self::Forbidden => "Forbidden",
            Self::Duplicate => "Duplicate value",
            Self::ManagerConflict => "conflict",
        }
    }
}

impl Cause {
    pub(crate) fn new(
        reason: CauseReason,
        field: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            reason,
            field: field.into(),
            message: message.into(),
        }
    }
}

impl Cause {
    /// What is wrong, without the place.
    pub(crate) fn explanation(&self) -> String {
        match (self.reason, self.message.as_str()) {
            (CauseReason::ManagerConflict, message) => message.to_owned(),
            (reason, "") => reason.words().to_owned(),
            (reason, message) => format!("{}: {message}", reason.words()),
        }
    }
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.reason {
            CauseReason::ManagerConflict => write!(f, "{}: {}", self.message, self.field),
            _ => write!(f, "{}: {}", self.field, self.explanation()),
        }
    }
}
