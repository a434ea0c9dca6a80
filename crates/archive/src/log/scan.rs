//! What the kernel's scan of a snapshot says of its files.

use arrow::array::{Array, AsArray, MapArray, RecordBatch};
use arrow::datatypes::Int64Type;
use object_store::path::Path;
use url::Url;

use crate::file::{ORIGIN_TAG, Origin, date_of};
use crate::log::delta::FOREIGN;
use crate::log::{CHECKSUM_TAG, DataFile, LogError, actions};

/// Reads the kernel's scan rows: `path`, `size`, `modificationTime`, `stats` and `deletionVector` are columns of them.
pub(super) fn read_files(
    url: &Url,
    batch: &RecordBatch,
    selected: &[bool],
    files: &mut Vec<DataFile>,
) -> Result<(), LogError> {
    let refused = |problem: String| LogError::Refused { place: url.to_string(), problem, advice: FOREIGN };
    let column = |name: &str| {
        batch.column_by_name(name).ok_or_else(|| refused(format!("the list of files has no column {name}")))
    };
    let paths = column("path")?
        .as_string_opt::<i32>()
        .ok_or_else(|| refused("the paths of the files are not strings".into()))?;
    let sizes = column("size")?
        .as_primitive_opt::<Int64Type>()
        .ok_or_else(|| refused("the sizes of the files are not numbers".into()))?;
    let times = column("modificationTime")?.as_primitive_opt::<Int64Type>();
    let stats = column("stats")?.as_string_opt::<i32>();
    let vectors = column("deletionVector")?;
    let tags = column("fileConstantValues")?.as_struct_opt().and_then(|values| values.column_by_name("tags"));
    let tags = tags.and_then(|tags| tags.as_map_opt());
    // A missing tail of the selection means selected (kernel's convention).
    for row in (0..batch.num_rows()).filter(|&row| selected.get(row).copied().unwrap_or(true)) {
        let path = paths.value(row);
        if vectors.is_valid(row) {
            return Err(refused(format!("the file {path} has a deletion vector")));
        }
        let path = percent_decoded(path);
        let date = date_of(&path).ok_or_else(|| refused(format!("the file {path} is not in a date partition")))?;
        files.push(DataFile {
            size: u64::try_from(sizes.value(row)).unwrap_or(0),
            modification_time: times.map_or(0, |times| times.value(row)),
            date,
            stats: stats.filter(|stats| stats.is_valid(row)).and_then(|stats| actions::parse_stats(stats.value(row))),
            origin: Origin::of(tag(tags, row, ORIGIN_TAG).as_deref(), &path),
            checksum: tag(tags, row, CHECKSUM_TAG).and_then(|text| actions::parse_checksum(&text)),
            path,
        });
    }
    Ok(())
}

/// The tag of a file, if it has it.
fn tag(tags: Option<&MapArray>, row: usize, name: &str) -> Option<String> {
    let tags = tags.filter(|tags| tags.is_valid(row))?.value(row);
    let (names, values) = (tags.column(0).as_string_opt::<i32>()?, tags.column(1).as_string_opt::<i32>()?);
    let at = names.iter().position(|found| found == Some(name))?;
    values.is_valid(at).then(|| values.value(at).to_owned())
}

/// Delta's paths are URL-encoded; ours hold nothing that needs it.
fn percent_decoded(path: &str) -> String {
    Path::from_url_path(path).map_or_else(|_| path.to_owned(), String::from)
}
