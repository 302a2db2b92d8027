"""What tests need, held against what they needed when the baseline was saved. All of it is pure."""
