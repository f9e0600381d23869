//! Devices as drivers tell of them, and the pools that they belong to: `golden/gpus.csv`.

use manifests::gpu::{Gpu, GpuRequest, PciId};

const GOLDEN: &str = include_str!("golden/gpus.csv");

/// Chip, board, product, memory in MiB and the pool's label.
fn devices() -> impl Iterator<Item = (PciId, &'static str, u64, &'static str)> {
    GOLDEN.lines().skip(1).map(|line| {
        let mut columns = line.split(',');
        let mut column = || columns.next().expect(line);
        let (ids, product, mib, pool) = (column(), column(), column(), column());
        let (chip, board) = ids.split_at(ids.len().min("10de:2330".len()));
        let pci = PciId::from_text(chip, board.trim_start_matches(':')).expect(line);
        (pci, product, mib.parse().expect(line), pool)
    })
}

#[test]
fn every_known_device_is_in_its_pool() {
    assert!(devices().count() > 90);
    for (pci, product, mib, pool) in devices() {
        assert_eq!(Gpu::of_device(product, mib, pci).to_string(), pool, "{product} {pci:?}");
    }
}

#[test]
fn every_known_device_can_be_asked_for_by_its_product_name() {
    for (pci, product, mib, pool) in devices() {
        let gpu = Gpu::of_device(product, mib, pci);
        if gpu.is_unknown()
            || gpu.is_mig()
            || product.contains("Graphics Device")
            || product.contains("GH200")
        {
            continue;
        }
        let asked =
            GpuRequest::from_keys([format!("vendor/nvidia/model/{product}").as_str()]).expect(product);
        assert!(asked.matches(&gpu), "{product} as {asked} is not {pool}");
    }
}
