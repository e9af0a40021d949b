//! The least rights: reading needs to read and list, nothing else.

use armory_archive::{Archive, ArchiveError, Depth};

use crate::batches::{Shape, run};
use crate::conformance::archive_of_three;
use crate::place::{Place, key, read_all};

/// `writer` and `reader` are one storage; the reader may only read and list.
pub(crate) async fn reading_needs_no_more(writer: &Place, reader: &Place) {
    archive_of_three(writer).await;
    let archive = Archive::open(reader.location.clone()).await.unwrap();
    assert_eq!(archive.topics().await.unwrap().len(), 1);
    assert_eq!(archive.partitions(&key().topic).await.unwrap(), [0]);
    let parts = archive.history(&key(), None).await.unwrap();
    let expected = run(0, 6, Shape::default()).bytes;
    assert_eq!(read_all(&archive, &parts).await, expected);
    let report = archive.verify(|_| true, Depth::Segments, |_| {}).await;
    assert_eq!(report.unwrap().findings, []);

    let refused = Archive::create_or_open(reader.location.clone()).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, ArchiveError::Denied { .. }), "{refused}");
    let text = refused.to_string();
    assert!(
        text.contains("armory.json: the credentials do not allow it"),
        "{text}"
    );
}
