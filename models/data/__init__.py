"""Images: generated boards, public sets, labelled folders, duplicates and splits."""
