//! Hosts that are not as they should be.

use crate::behaviour::Behaviour;

pub(super) const ROWS: &[Behaviour] = &[];
