"""Tasks of Gymnasium environments: declared in a record, tried by id, checked by the doctor."""
