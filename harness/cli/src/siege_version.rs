//! `--siege-format`: the siege version whose layout is followed.

use holdfast_report::SiegeFormat;

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum SiegeVersion {
    #[value(name = "4.0")]
    V4_0,
    #[value(name = "4.1.7")]
    V4_1_7,
}

impl From<SiegeVersion> for SiegeFormat {
    fn from(version: SiegeVersion) -> Self {
        match version {
            SiegeVersion::V4_0 => Self::V4_0,
            SiegeVersion::V4_1_7 => Self::V4_1_7,
        }
    }
}
