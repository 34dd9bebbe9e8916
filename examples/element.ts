// Finds elements of a page by id and type, and makes new ones.
export function element<Type extends HTMLElement> (id: string, type: new () => Type): Type {
  const found = document.getElementById(id)
  if (!(found instanceof type)) throw new Error(`The page has no ${type.name} with the id "${id}"`)
  return found
}

/** Makes an element with a text. */
export function make<Name extends keyof HTMLElementTagNameMap> (name: Name, text: string, className = ''): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name)
  made.textContent = text
  made.className = className
  return made
}
