"""How far ahead a dynamics model predicts: open-loop errors, calibration, imagined films."""
