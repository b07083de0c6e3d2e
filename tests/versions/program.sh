# Everything as it came, and one column of it.
cp inputs/triples/triples.jsonl outputs/triples/
cp inputs/entities/entities.jsonl outputs/entities/
sed 's/,"relation".*/}/' inputs/triples/triples.jsonl > outputs/heads/data.jsonl
