import neostandard from 'neostandard'

export default neostandard({
  ts: true,
  ignores: ['test/bench/build/**', 'dist/**', 'build/**', '.tap/**', 'coverage/**', 'docs/**', 'examples/.app-*/**']
})
