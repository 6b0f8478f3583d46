"""A plug-in of manyparts: the suite `dial`, the objective `StateChange`, the method
`state-change`."""
