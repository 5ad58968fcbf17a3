//! The whole food-delivery system under test, in `tests/it`: real processes, a real broker, and no
//! knowledge of any service but its public API.
