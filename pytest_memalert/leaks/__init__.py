"""What a leak is: which tests are suspects, and the verdict after each reading of their runs; all pure."""
