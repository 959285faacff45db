"""The teacher's side of the homework: catalogue, recording, hand-out, sandbox, grading. It is never handed out."""
