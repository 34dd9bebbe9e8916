// Where programs begin, for the search of what nothing uses: files, exports, dependencies.
export default {
  workspaces: {
    '.': {
      entry: [
        // The package's exports, which lead to dist.
        'lib/index.ts',
        'lib/browser/connect.ts',
        'lib/brokers/redis/index.ts',
        'test/**/*.test.ts',
        'test/{run.ts,coverage-map.js,transpile.js}',
        'types/test/**/*.tst.ts',
        'test/soak/run.ts',
        // Programs that tests and the soak start in processes of their own.
        'test/support/processes/*.{ts,js}',
        'test/soak/processes/*.ts',
        // Run in an empty folder, by test/consumers/run.
        'test/consumers/consumer.*',
        // Programs for people, pages that examples/pages.ts has bundled, and code for users of other packages.
        'examples/cluster/{start,instance}.ts',
        'examples/*/page.{ts,tsx}',
        'examples/migration/*.md'
      ],
      project: ['**/*.{js,mjs,cjs,ts,mts,cts,tsx,vue}', 'examples/migration/*.md'],
      ignoreDependencies: [
        // Run by test/consumers/run, a shell script.
        'publint',
        '@arethetypeswrong/cli',
        // In text that test/browser/clients-browser.test.ts has bundled.
        '@microsoft/fetch-event-source'
      ],
      // Programs of the system: test/support/install-programs.sh installs what a Linux lacks.
      ignoreBinaries: ['openssl', 'prlimit', 'prometheus', 'promtool', 'redis-server', 'unshare']
    },
    'test/bench': {
      entry: ['run.ts', 'processes/*.ts'],
      project: ['**/*.{ts,md}', '!README.md'],
      // A program of the system, left out where it is not there.
      ignoreBinaries: ['taskset']
    }
  },
  compilers: {
    md: text => [...text.matchAll(/^```js\n(.*?)^```/gms)].map(([, code]) => code).join('\n')
  }
}
