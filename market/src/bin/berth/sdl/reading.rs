//! How faithfully documents are read: as every provider's language says, or as the web console of the other network does.

use clap::Args;
use manifests::problem::Problem;
use manifests::{Deployment, Mode};

/// Whether a document may say what only the web console of the other network understands.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct Faithfulness {
    /// Read also what only the web console of the other network accepts, such as 4GB or 1gi, each time with a warning.
    #[arg(long)]
    lenient: bool,
}

impl Faithfulness {
    /// Reads a document.
    pub(crate) fn read(self, bytes: &[u8]) -> Result<Deployment, Vec<Problem>> {
        manifests::read(bytes, if self.lenient { Mode::Lenient } else { Mode::Exact }).outcome
    }
}
