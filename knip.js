// The entry points from which knip finds what is used. It reports all other files, exports and dependencies.
export default {
  workspaces: {
    '.': {
      entry: [
        // The package's exports. In package.json they point to dist.
        'lib/index.ts',
        'lib/browser/connect.ts',
        'lib/brokers/redis/index.ts',
        'test/**/*.test.ts',
        'test/{run.ts,coverage-map.js,transpile.js}',
        'test/guide/pictures.ts',
        'types/test/**/*.tst.ts',
        'test/soak/run.ts',
        'test/mutants/run.ts',
        // Programs that tests and the soak start in their own processes.
        'test/support/processes/*.{ts,js}',
        'test/soak/processes/*.ts',
        // test/consumers/run runs these in an empty folder.
        'test/consumers/consumer.*',
        // Programs for users, pages that examples/pages.ts bundles, and code for users of other packages.
        'examples/cluster/{start,instance}.ts',
        'examples/*/page.{ts,tsx}',
        'examples/migration/*.md'
      ],
      project: ['**/*.{js,mjs,cjs,ts,mts,cts,tsx,vue}', 'examples/migration/*.md'],
      ignoreDependencies: [
        // test/consumers/run, a shell script, runs these.
        'publint',
        '@arethetypeswrong/cli',
        // It is in text that test/browser/clients-browser.test.ts bundles.
        '@microsoft/fetch-event-source'
      ],
      // Programs of the system. test/support/install-programs.sh installs those that a Linux machine does not have.
      ignoreBinaries: ['openssl', 'prlimit', 'prometheus', 'promtool', 'redis-server', 'unshare']
    },
    'test/bench': {
      entry: ['run.ts', 'processes/*.ts'],
      project: ['**/*.{ts,md}', '!README.md'],
      // A program of the system. The benchmarks run without it, too.
      ignoreBinaries: ['taskset']
    }
  },
  compilers: {
    md: text => [...text.matchAll(/^```js\n(.*?)^```/gms)].map(([, code]) => code).join('\n')
  }
}
