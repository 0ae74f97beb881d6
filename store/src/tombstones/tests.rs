use super::file::parse;
use roaring::RoaringTreemap;

#[test]
fn bytes_that_are_no_bitmap_are_an_error() {
    let mut bitmap = RoaringTreemap::new();
    bitmap.insert_range(3..9);
    bitmap.insert(1 << 40);
    let mut bytes = Vec::new();
    bitmap.serialize_into(&mut bytes).unwrap();
    let rows = parse(&bytes).unwrap();
    assert_eq!(rows.ranges(), [3..9, (1 << 40)..(1 << 40) + 1]);
    for n in 0..bytes.len() {
        assert!(parse(&bytes[..n]).is_err(), "length {n}");
    }
    bytes.push(0);
    assert!(parse(&bytes).is_err());
}
