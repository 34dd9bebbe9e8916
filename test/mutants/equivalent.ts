// Mutants that no test can find, because they do the same. By file and by the changed line of its compiled code, with the reason.
export const equivalent: Record<string, Record<string, string>> = {}
