"""Speed and memory of Isthmus beside its peers; every case is checked against float64 before it is timed."""
