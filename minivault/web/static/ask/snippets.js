// The same request for a shell and for Python: the exact body, with the seed that was drawn. The key is named, not written.

import { addressOf } from "../api.js";
import { key } from "../key.js";

/** The body that gives this very answer again. */
export function bodyOf(answer) {
  const seed = answer.end?.seed;
  return seed && !/"seed":\d/.test(answer.body) ? `${answer.body.slice(0, -1)},"seed":${seed}}` : answer.body;
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

export function asCurl(answer) {
  const auth = key() ? ` \\\n  -H "Authorization: Bearer $MINIVAULT_API_KEY"` : "";
  return `curl -sN ${quoted(addressOf(answer.path).href)}${auth} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(bodyOf(answer))}\n`;
}

export function asPython(answer) {
  const auth = key() ? `, "Authorization": f"Bearer {os.environ['MINIVAULT_API_KEY']}"` : "";
  return `${key() ? "import os\n" : ""}import httpx

body = ${JSON.stringify(bodyOf(answer))}
headers = {"Content-Type": "application/json"${auth}}
with httpx.stream("POST", ${JSON.stringify(addressOf(answer.path).href)}, content=body, headers=headers, timeout=600) as reply:
    for line in reply.iter_lines():
        print(line)
`;
}
