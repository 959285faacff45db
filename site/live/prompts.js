// The grammar of diffusion_lib/words.py. The language is data: its words, digits first, then "above" and "below"; the
// place of such a word in a prompt, the length of a prompt, and the pairs that training never has side by side.

// A prompt as numbers of words. An error says what was received, and which words there are.
export function encodePrompt(text, { words, digits, relation, length }) {
  const received = text.toLowerCase().split(/\s+/).filter(word => word);
  const unknown = received.find(word => !words.includes(word));
  if (unknown) throw new Error(`The network does not know “${unknown}”. Its words are ${words.slice(0, -1).join(", ")} and ${words.at(-1)}.`);
  const numbers = received.map(word => words.indexOf(word));
  if (numbers.length !== length || numbers.some((number, place) => number >= digits !== (place === relation)))
    throw new Error(`A prompt is two digits, above or below, and two more digits. Received: ${received.length ? `“${received.join(" ")}”` : "nothing"}.`);
  return numbers;
}

// The digits that a prompt asks for: the page's two rows, the upper one first
export function rowsOf(numbers, { words, relation }) {
  const rows = [numbers.slice(0, relation), numbers.slice(relation + 1)];
  return words[numbers[relation]] === "above" ? rows : rows.reverse();
}

// The rows of a page that no page of training has
export const heldOut = (rows, { unseen }) => rows.filter(([left, right]) => unseen[left][right]);
