//! `gpus.csv`: what is known of cards besides their names.
//!
//! A row says under which PCI ids a card is seen, its slug, the memory that it is sold with in GiB, its interface (`sxm5` tells
//! the generation too), the MIG profiles it can be cut into, and other names that people use. Several values stand in one
//! column with blanks between them. Ids are written as `lspci` prints them; where one chip sits on boards that are sold under
//! different names, those of the board follow. A row without ids says what a name alone means, where cards of one name differ.
//!
//! Ids and names are facts of the vendor's list of supported GPUs (the README of its open kernel modules) and of the PCI ID
//! Repository (pci-ids.ucw.cz), memory and profiles of the vendor's data sheets and its guide to MIG.

use std::sync::LazyLock;

use super::{Interface, PciId};

/// The table, in the order of the file.
pub(super) struct Table(Vec<Row>);

/// One line.
#[derive(Debug)]
pub(super) struct Row {
    ids: Vec<&'static str>,
    pub(super) slug: &'static str,
    memory_gib: Vec<u32>,
    pub(super) interface: Option<Interface>,
    profiles: Vec<&'static str>,
    aliases: Vec<&'static str>,
}

pub(super) static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let rows = include_str!("../gpus.csv").lines().skip(1).map(|line| {
        let mut columns = line.split(',');
        let mut column = || columns.next().unwrap_or_default();
        let (ids, slug, memory, interface) = (column(), column(), column(), column());
        Row {
            ids: ids.split_whitespace().collect(),
            slug,
            memory_gib: memory.split_whitespace().filter_map(|gib| gib.parse().ok()).collect(),
            interface: Interface::from_word(interface),
            profiles: column().split_whitespace().collect(),
            aliases: column().split_whitespace().collect(),
        }
    });
    Table(rows.collect())
});

impl Table {
    /// The row of a device: its board's, or that of the chip.
    pub(super) fn of_device(&self, pci: PciId) -> Option<&Row> {
        let (board, chip) = (pci.board(), pci.chip());
        let named = |id: &str| self.0.iter().find(|row| row.ids.contains(&id));
        named(&board).or_else(|| named(&chip))
    }

    /// How all cards of a name are attached, if that is one way.
    pub(super) fn interface_of(&self, slug: &str) -> Option<Interface> {
        if let Some(row) = self.named(slug).find(|row| row.ids.is_empty()) {
            return row.interface;
        }
        let mut ways = self.named(slug).map(|row| row.interface);
        let first = ways.next()??;
        ways.all(|way| way == Some(first)).then_some(first)
    }

    /// The memory that cards of a name are sold with, in GiB, of any of them.
    pub(super) fn memory_of(&self, slug: &str) -> Vec<u32> {
        self.named(slug).flat_map(|row| row.memory_gib.clone()).collect()
    }

    /// Whether people ask for a card of this slug by this other name.
    pub(super) fn has_alias(&self, slug: &str, name: &str) -> bool {
        self.named(slug).any(|row| row.aliases.contains(&name))
    }

    /// The profile of a slice with so many of the card's compute slices and so much memory: of those that the card is known
    /// to have, the smallest that holds it.
    pub(super) fn profile_of(
        &self,
        slug: &str,
        ram_gib: u32,
        compute: u32,
        memory_mib: u64,
    ) -> Option<&'static str> {
        let rows = self.named(slug).filter(|row| row.memory_gib.contains(&ram_gib));
        let profiles = rows.flat_map(|row| row.profiles.iter().copied());
        let fitting = profiles.filter_map(|profile| {
            let (slices, memory) = profile.split_once("g.")?;
            // What is behind the memory are extras, such as media engines, which no count tells.
            let gib: u32 = memory.strip_suffix("gb")?.parse().ok()?;
            let holds = u64::from(gib) << 10 >= memory_mib && slices.parse() == Ok(compute);
            holds.then_some((gib, profile))
        });
        fitting.min().map(|(_, profile)| profile)
    }

    fn named<'a>(&'a self, slug: &'a str) -> impl Iterator<Item = &'a Row> {
        self.0.iter().filter(move |row| row.slug == slug)
    }
}

impl Row {
    /// The memory that the card is sold with, in GiB; several where cards of these ids differ.
    pub(super) fn memory_gib(&self) -> &[u32] {
        &self.memory_gib
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::gpu::Gpu;
    use crate::gpu::name::Name;

    #[test]
    fn every_line_of_the_table_is_whole() {
        let lines: Vec<&str> = include_str!("../gpus.csv").lines().collect();
        assert_eq!(lines[0], "ids,slug,memory,interface,mig,aliases");
        let mut seen = BTreeSet::new();
        for (line, row) in lines[1..].iter().zip(&TABLE.0) {
            assert_eq!(line.split(',').count(), 6, "{line}");
            let mut words = line.split(',');
            let (_, _, memory) = (words.next(), words.next(), words.next().unwrap_or_default());
            assert_eq!(memory.split_whitespace().count(), row.memory_gib.len(), "{line}");
            assert!(row.interface.is_some(), "{line}");
            // A request goes through the same rule as a product's name, so a slug has to come out of it as it went in.
            assert_eq!(Name::of_request(row.slug).slug, row.slug, "{line}");
            for alias in &row.aliases {
                assert_eq!(Name::of_request(alias).slug, *alias, "{line}");
            }
            for id in &row.ids {
                let parts: Vec<&str> = id.split(':').collect();
                assert!(matches!(parts.len(), 2 | 4), "{line}");
                assert!(parts.iter().all(|part| part.len() == 4 && u16::from_str_radix(part, 16).is_ok()));
                assert!(seen.insert(*id), "{id} stands in two rows");
            }
            for profile in &row.profiles {
                let card = Gpu::named(row.slug, row.memory_gib[0], row.interface).expect(line);
                assert!(
                    card.slice(profile).is_some_and(|slice| slice.ram_gib() <= row.memory_gib[0]),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn the_profile_of_a_slice_is_known_from_its_size() {
        for (slug, ram, compute, memory_mib, profile) in [
            ("h100", 80, 1, 9_856, Some("1g.10gb")),
            ("h100", 80, 1, 19_968, Some("1g.20gb")),
            ("h100", 80, 3, 40_320, Some("3g.40gb")),
            ("h100", 80, 7, 80_896, Some("7g.80gb")),
            ("a100", 40, 1, 4_864, Some("1g.5gb")),
            ("a100", 80, 1, 9_728, Some("1g.10gb")),
            ("h200", 141, 1, 16_384, Some("1g.18gb")),
            ("h100", 80, 5, 9_856, None),
            ("t4", 16, 1, 4_000, None),
        ] {
            assert_eq!(TABLE.profile_of(slug, ram, compute, memory_mib), profile, "{slug} {compute}");
        }
    }
}
