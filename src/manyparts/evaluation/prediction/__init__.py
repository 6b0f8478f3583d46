"""How far ahead a dynamics model sees: open-loop errors, calibration, imagined films."""
