//! What workers say about the steps that they have begun.

use crate::error::Result;
use crate::orchestration::claimants::Claimant;
use crate::orchestration::{Engine, StepKey};

/// The worker says that it has called the handlers of these steps.
pub fn begin(
    _engine: &mut Engine,
    _claimant: &Claimant,
    _worker_id: &str,
    _begun: &[StepKey],
) -> Result<()> {
    Ok(())
}
