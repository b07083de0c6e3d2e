#!/usr/bin/env bash
# Asks one question, asks a batch, and reads a document that it finds by its title.
#   examples/clients/ask.sh "Which currency is used in Namibia?" Namibia
# URL: the server. TOKEN: its token, if it has one. Needs curl 7.76 and jq.
set -euo pipefail
: "${URL:=http://127.0.0.1:7878}"
question=${1:?a question} title=${2:?a title}

call() {
  # The token comes from a file, because other users can see the arguments of a program.
  curl -sS --fail-with-body -H @<(printf '%s' "${TOKEN:+authorization: Bearer $TOKEN}") "$@"
}
post() {
  call "$URL$1" -H 'content-type: application/json' --data-binary @-
}

# jq -a escapes everything that is not ASCII: text of documents must not control the terminal.
jq -n --arg question "$question" '{$question, k: 3}' |
  post /ask | jq -a '.error // (.documents[] | {title, score, sentence})'

# In a batch a question is a text, or an object as above.
jq -n --arg question "$question" '{questions: [$question, {$question, k: 1, paths: 0}]}' |
  post /ask/batch | jq -a '.error // (.answers[] | .error // [.documents[].title])'

id=$(call -G "$URL/documents" --data-urlencode "title=$title" -d limit=1 | jq '.[0].id // empty')
call "$URL/documents/${id:?no such title}" | jq -a '{id, title, text, source}'
