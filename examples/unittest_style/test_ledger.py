"""Tests in the style of unittest: set-up for the class, and a list that belongs to the class too."""

from __future__ import annotations

import unittest
from typing import ClassVar

MIB = 2**20


class TestLedger(unittest.TestCase):
    """Tests of a ledger that all of them share."""

    receipts: ClassVar[list[bytearray]] = []

    @classmethod
    def setUpClass(cls):
        """Load 40 MiB: the class's own, and no test's growth."""
        cls.ledger = bytearray(b"0") * (40 * MIB)

    @classmethod
    def tearDownClass(cls):
        """Give all of it back."""
        del cls.ledger

    def test_balance_is_zero(self):
        """Comes first, and isn't blamed for the ledger."""
        assert self.ledger.count(b"1") == 0

    def test_payment_has_a_receipt(self):
        """Adds 3 MiB to a list of the class in each run, and nothing clears it: an alert."""
        self.receipts.append(bytearray(b"r") * (3 * MIB))
        assert self.receipts

    def test_refund_has_no_receipt(self):
        """Uses as much, and lets go of it."""
        receipt = bytearray(b"r") * (3 * MIB)
        assert len(receipt) == 3 * MIB
