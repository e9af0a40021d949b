//! What a storage has to do for an archive, as a check that every kind of storage passes: run it on one of your own.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use armory_archive::{Location, conformance};
//!
//! let folder = tempfile::tempdir().unwrap();
//! conformance::check(&Location::Folder(folder.path().to_owned())).await;
//! # }
//! ```

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;

use crate::location::Location;
use crate::names::new_nonce;
use crate::storage::{Created, Storage};

/// How many entries the longest listing has: more than a page of any store that pages by the thousand.
const MANY: usize = 1_100;
/// More than is put in one request.
const BIG: usize = (34 << 20) + 12_345;

/// Runs every check below a directory of its own, which has no files afterwards. Takes about 40 MB and 1,500 requests.
///
/// # Panics
/// Where the storage does not behave as an archive needs.
pub async fn check(location: &Location) {
    let place = Place {
        storage: Storage::new(location),
        root: format!("conformance-{}", new_nonce()),
    };
    place.nothing_is_nothing().await;
    place.creation_happens_once().await;
    place.replacing_replaces().await;
    place.ranges_are_exact().await;
    place.listings_are_whole_and_flat().await;
    place.names_are_kept().await;
    place.big_objects_are_whole().await;
    assert_eq!(place.names("").await, [""; 0], "something is left behind");
}

struct Place {
    storage: Storage,
    root: String,
}

impl Place {
    fn path(&self, relative: &str) -> String {
        match relative {
            "" => self.root.clone(),
            relative => format!("{}/{relative}", self.root),
        }
    }

    async fn create(&self, relative: &str, content: &[u8]) -> Created {
        let content = Bytes::copy_from_slice(content);
        let created = self.storage.create(&self.path(relative), content).await;
        created.unwrap_or_else(|error| panic!("cannot create {relative}: {error}"))
    }

    async fn get(&self, relative: &str) -> Option<Bytes> {
        let got = self.storage.get(&self.path(relative)).await;
        got.unwrap_or_else(|error| panic!("cannot get {relative}: {error}"))
    }

    async fn range(&self, relative: &str, range: std::ops::Range<u64>) -> Option<Bytes> {
        let got = self.storage.get_range(&self.path(relative), range).await;
        got.unwrap_or_else(|error| panic!("cannot get a range of {relative}: {error}"))
    }

    async fn delete(&self, relative: &str) {
        let deleted = self.storage.delete(&self.path(relative)).await;
        deleted.unwrap_or_else(|error| panic!("cannot delete {relative}: {error}"));
    }

    /// The names of the files directly in a directory.
    async fn names(&self, directory: &str) -> Vec<String> {
        let listing = self.storage.list(&self.path(directory)).await;
        let listing = listing.unwrap_or_else(|error| panic!("cannot list {directory}: {error}"));
        listing.files.into_iter().map(|(name, _)| name).collect()
    }

    async fn nothing_is_nothing(&self) {
        assert_eq!(self.get("absent").await, None);
        assert_eq!(self.range("absent", 0..10).await, None);
        let size = self.storage.size(&self.path("absent")).await;
        assert!(matches!(size, Ok(None)), "{size:?}");
        assert_eq!(self.names("absent").await, [""; 0]);
        self.delete("absent").await;
        self.delete("absent/deeper").await;
    }

    async fn creation_happens_once(&self) {
        assert_eq!(self.create("once", b"first").await, Created::Yes);
        assert_eq!(self.create("once", b"second").await, Created::Exists);
        assert_eq!(self.create("once", b"first").await, Created::Exists);
        assert_eq!(self.get("once").await.as_deref(), Some(&b"first"[..]));
        self.delete("once").await;
        assert_eq!(self.get("once").await, None);
        assert_eq!(self.create("once", b"").await, Created::Yes);
        assert_eq!(self.get("once").await.as_deref(), Some(&b""[..]));
        self.delete("once").await;

        for round in 0..20 {
            let name = format!("race/{round}");
            let contents: Vec<_> = (0..8).map(|racer| format!("{racer}")).collect();
            let racers = contents
                .iter()
                .map(|content| self.create(&name, content.as_bytes()));
            let created = join_all(racers).await;
            let winners = created.iter().zip(&contents);
            let winners: Vec<_> = winners
                .filter(|(created, _)| **created == Created::Yes)
                .map(|(_, content)| content.as_bytes())
                .collect();
            assert_eq!(winners.len(), 1, "{name} was created {winners:?}");
            assert_eq!(self.get(&name).await.as_deref(), Some(winners[0]));
            self.delete(&name).await;
        }
    }

    async fn replacing_replaces(&self) {
        let path = self.path("replaced");
        for content in [&b"one"[..], b"two, longer", b"3"] {
            let content = Bytes::copy_from_slice(content);
            let replaced = self.storage.replace(&path, content.clone()).await;
            replaced.unwrap_or_else(|error| panic!("cannot replace: {error}"));
            assert_eq!(self.get("replaced").await, Some(content));
        }
        assert_eq!(self.create("replaced", b"4").await, Created::Exists);
        self.delete("replaced").await;
    }

    async fn ranges_are_exact(&self) {
        let content: Vec<u8> = (0..10_000u32).map(|number| (number / 7) as u8).collect();
        self.create("ranges", &content).await;
        for (start, end) in [(0, 1), (0, 10_000), (17, 4_711), (9_999, 10_000)] {
            let expected = &content[start..end];
            let got = self.range("ranges", start as u64..end as u64).await;
            assert_eq!(got.as_deref(), Some(expected), "{start}..{end}");
        }
        let over = self.range("ranges", 9_990..20_000).await;
        assert_eq!(over.as_deref(), Some(&content[9_990..]), "beyond the end");
        let size = self.storage.size(&self.path("ranges")).await;
        assert!(matches!(size, Ok(Some(10_000))), "{size:?}");
        self.delete("ranges").await;
    }

    async fn listings_are_whole_and_flat(&self) {
        let names: Vec<_> = (0..MANY)
            .map(|number| format!("{number:020}.json"))
            .collect();
        let others = ["list/many/deeper/one", "list/many-not", "list/one"];
        let many = names.iter().map(|name| format!("list/many/{name}"));
        let all: Vec<_> = many.chain(others.map(str::to_owned)).collect();
        let create = async |name: &String| self.create(name, name.as_bytes()).await;
        let created: Vec<_> = futures::stream::iter(all.iter().map(create))
            .buffer_unordered(16)
            .collect()
            .await;
        assert!(created.iter().all(|created| *created == Created::Yes));

        let listing = self.storage.list(&self.path("list/many")).await;
        let listing = listing.unwrap_or_else(|error| panic!("cannot list: {error}"));
        assert_eq!(listing.directories, ["deeper"]);
        let expected: Vec<_> = names
            .iter()
            .map(|name| (name.clone(), "list/many/".len() as u64 + name.len() as u64))
            .collect();
        assert_eq!(listing.files, expected);
        let listing = self.storage.list(&self.path("list")).await;
        let listing = listing.unwrap_or_else(|error| panic!("cannot list: {error}"));
        assert_eq!(listing.directories, ["many"]);
        assert_eq!(self.names("list").await, ["many-not", "one"]);

        let delete = async |name: &String| self.delete(name).await;
        futures::stream::iter(all.iter().map(delete))
            .buffer_unordered(16)
            .collect::<()>()
            .await;
        assert_eq!(self.names("list/many").await, [""; 0]);
    }

    /// Names of topics, and more: upper and lower case are told apart, and dots mean nothing.
    async fn names_are_kept(&self) {
        let long = "x".repeat(249);
        let names = [
            "a",
            "A",
            "..a",
            "...",
            "a..b",
            "-",
            "_",
            "-a.",
            "__consumer_offsets",
            "0",
            "00",
            &long,
        ];
        // As directories, which is what topics are: a file's own name has to leave room for what it is called at first.
        let path = |name: &str| format!("names/{name}/it");
        for name in names {
            let created = self.create(&path(name), name.as_bytes()).await;
            let problem = "is another name of one before";
            assert_eq!(created, Created::Yes, "{name} {problem}");
        }
        let listing = self.storage.list(&self.path("names")).await;
        let listing = listing.unwrap_or_else(|error| panic!("cannot list: {error}"));
        let listed: BTreeSet<_> = listing.directories.into_iter().collect();
        assert_eq!(listed, names.map(str::to_owned).into());
        for name in names {
            let got = self.get(&path(name)).await;
            assert_eq!(got.as_deref(), Some(name.as_bytes()));
            self.delete(&path(name)).await;
        }
    }

    async fn big_objects_are_whole(&self) {
        let content: Bytes = (0..BIG as u32).map(|at| (at / 253) as u8).collect();
        let path = self.path("big");
        match &self.storage {
            // On an object store segments are put in parts; on a folder they are written in place.
            Storage::Objects(objects) => {
                for _ in 0..2 {
                    let pieces = vec![
                        content.slice(..5),
                        content.slice(5..BIG / 2),
                        content.slice(BIG / 2..),
                    ];
                    let put = objects.put(&path, pieces).await;
                    put.unwrap_or_else(|error| panic!("cannot put {BIG} bytes: {error}"));
                }
            }
            Storage::Folder(_) => {
                self.create("big", &content).await;
            }
        }
        let size = self.storage.size(&path).await;
        assert!(
            matches!(size, Ok(Some(size)) if size == BIG as u64),
            "{size:?}"
        );
        let part = 16 << 20;
        for (start, end) in [
            (part - 3, part + 3),
            (2 * part - 1, 2 * part + 1),
            (BIG - 1, BIG),
        ] {
            let got = self.range("big", start as u64..end as u64).await;
            assert_eq!(got, Some(content.slice(start..end)), "{start}..{end}");
        }
        let got = self.get("big").await;
        assert!(got == Some(content), "{BIG} bytes came back otherwise");
        self.delete("big").await;
    }
}
