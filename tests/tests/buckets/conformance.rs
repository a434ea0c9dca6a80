//! One suite for every store.

use std::sync::Arc;

use object_store::memory::InMemory;
use promarchive_archive::Location;
use promarchive_archive::store::Store;
use promarchive_tests::s3_server::S3Server;
use promarchive_tests::store_suite::try_all;

#[tokio::test(flavor = "multi_thread")]
async fn in_memory() {
    try_all(&Store::over(Location::in_memory().unwrap(), Arc::new(InMemory::new()))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory() {
    let directory = tempfile::tempdir().unwrap();
    try_all(&Store::open(Location::at(directory.path()).unwrap()).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versitygw() {
    let server = S3Server::start();
    for place in ["", "a/env=prod"] {
        let location = Location::parse(&server.url(place)).unwrap();
        try_all(&Store::open_with(location, server.variables()).unwrap()).await;
    }
}
