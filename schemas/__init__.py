"""The contract that producer, processors and every reader of the topics share. Depends on nothing else here."""
