//! Processors and memory that free GPUs will need: orders without GPUs may not take them.

use serde::{Deserialize, Serialize};

use crate::decimal::{Decimal, NANO};

/// What is kept on a node for each of its free GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Reserve {
    /// Cores.
    cpu_per_gpu: Decimal,
    /// GiB of memory.
    #[serde(rename = "memoryGiBPerGpu")]
    memory_gib_per_gpu: Decimal,
}

impl Reserve {
    pub(super) fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Thousandths of a core and bytes of memory that replicas without GPUs leave alone on a node that has so many free,
    /// rounded up.
    pub(crate) fn kept_up(&self, free_gpus: u64) -> (u64, u64) {
        let of = |each: Decimal, steps: u128| {
            let amount = u128::from(each.nano) * steps * u128::from(free_gpus);
            u64::try_from(amount.div_ceil(u128::from(NANO))).unwrap_or(u64::MAX)
        };
        (of(self.cpu_per_gpu, 1000), of(self.memory_gib_per_gpu, 1 << 30))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_free_gpu_keeps_its_part_rounded_up() {
        let reserve: Reserve =
            serde_yaml::from_str("{cpuPerGpu: '7.9999', memoryGiBPerGpu: '0.000000001'}").expect("a reserve");
        assert_eq!(reserve.kept_up(0), (0, 0));
        assert_eq!(reserve.kept_up(1), (8000, 2));
        assert_eq!(reserve.kept_up(2), (16_000, 3));
        assert_eq!(reserve.kept_up(u64::MAX).0, u64::MAX);
    }
}
