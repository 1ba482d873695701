using System.Diagnostics;
using System.Globalization;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.Json;
using Xunit;
using Xunit.Abstractions;
using Xunit.Sdk;

namespace Quality;

/// <summary>What a process that runs tests on a changed assembly is to do.</summary>
/// <param name="Project">The changed project of the product, e.g. "LoraNotebooks".</param>
/// <param name="Tests">What the names of the tests hold; nothing for all.</param>
/// <param name="Tries">The changes to switch on, one after the other; null to find out which tests come by which changes.</param>
/// <param name="Fresh">Whether the one change is on from the process's first moment, for code that runs once in a process.</param>
/// <param name="Output">The file that gets a line for all that happens.</param>
internal sealed record MutationJob(string Project, IReadOnlyList<string> Tests, IReadOnlyList<MutationTry>? Tries, bool Fresh, string Output);

/// <summary>A change to switch on and the tests that come by it, the quickest first.</summary>
internal sealed record MutationTry(int Mutant, IReadOnlyList<string> Tests);

/// <summary>A test alone in a process that is warm: how long it takes and which changes it comes by.</summary>
/// <param name="Id">xunit's number for it, the same in each process.</param>
/// <param name="Name">As test reports show it.</param>
/// <param name="Seconds">How long it took.</param>
/// <param name="Failed">Whether it fails without any change; such tests notice nothing.</param>
/// <param name="Covered">The changes that it comes by each time it runs.</param>
/// <param name="Once">The changes that it came by only when it ran first, because their result is kept or they run as a type is loaded.</param>
internal sealed record TestCoverage(string Id, string Name, double Seconds, bool Failed, IReadOnlyList<int> Covered, IReadOnlyList<int> Once);

/// <summary>
/// The process that runs tests on a changed assembly: it lies among the tests, loads them once and switches one change after the other on and off. A
/// process for each change, as Stryker's own runner starts, takes seconds where the tests themselves take milliseconds.
/// </summary>
internal static class MutationWorker
{
    /// <summary>The class that Stryker compiles into the assembly.</summary>
    public const string Switch = "MutantControl";

    // What no change has for a number.
    private const int None = -1;

    /// <summary>The program that lies among a project's tests.</summary>
    public static string ProgramOf(string project) => Path.Combine(Mutants.TestsOf(project), "Quality.dll");

    /// <summary>Starts the process, with the tests' own dependencies and runtime.</summary>
    public static Process Start(string project, string job)
    {
        var tests = Path.Combine(Mutants.TestsOf(project), project + ".Tests");
        var start = new ProcessStartInfo(
            "dotnet",
            ["exec", "--depsfile", tests + ".deps.json", "--runtimeconfig", tests + ".runtimeconfig.json", ProgramOf(project), "worker", job])
        {
            WorkingDirectory = Mutants.TestsOf(project),
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["OMP_NUM_THREADS"] = "1";

        // A change that asks for endless memory ends its process and not the machine.
        start.Environment["DOTNET_GCHeapHardLimit"] = "0x100000000";
        start.Environment["DOTNET_DbgEnableMiniDump"] = "0";
        var process = Process.Start(start)!;
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return process;
    }

    /// <summary>Does a job; the lines that it writes are read by <see cref="MutationTrial"/>.</summary>
    public static int Run(string path)
    {
        // The input ends with the process that started this one; a change that runs on without end would outlive it.
        new Thread(static () =>
        {
            while (Console.In.Read() >= 0)
            {
            }

            Environment.Exit(1);
        })
        { IsBackground = true }.Start();
        var job = JsonSerializer.Deserialize<MutationJob>(File.ReadAllBytes(path))!;
        using var output = new StreamWriter(job.Output, append: true) { AutoFlush = true };
        var control = new Control(Assembly.Load(Mutants.AssemblyOf(job.Project)));
        if (job is { Fresh: true, Tries: [var first] })
        {
            control.Activate(first.Mutant);
        }

        using var tests = new Tests(Assembly.Load(job.Project + ".Tests"), job.Tests);
        if (job.Tries is null)
        {
            Cover(tests, control, output);
            return 0;
        }

        // What noticed a change mostly notices its neighbours.
        Dictionary<string, int> noticed = [];
        foreach (var attempt in job.Tries)
        {
            output.WriteLine($"start\t{attempt.Mutant}");
            control.Activate(attempt.Mutant);
            var failed = tests.FirstFailure([.. attempt.Tests.OrderByDescending(id => noticed.GetValueOrDefault(id))]);
            if (failed is null)
            {
                output.WriteLine($"passed\t{attempt.Mutant}");
            }
            else
            {
                // A test that fails on after the change is off fails for what an earlier one left behind.
                control.Activate(None);
                noticed[failed] = noticed.GetValueOrDefault(failed) + 1;
                var isClean = job.Fresh || tests.FirstFailure([failed]) is null;
                output.WriteLine($"{(isClean ? "failed" : "unclean")}\t{attempt.Mutant}\t{tests.NameOf(failed)}");
                if (!isClean)
                {
                    return 0;
                }
            }

            if (Environment.WorkingSet > 3L << 30)
            {
                return 0;
            }
        }

        return 0;
    }

    private static void Cover(Tests tests, Control control, StreamWriter output)
    {
        control.Capture();
        var first = tests.Ids.ToDictionary(static id => id, id =>
        {
            tests.FirstFailure([id]);
            return control.Captured();
        });
        var second = tests.Ids.ToDictionary(static id => id, id =>
        {
            tests.FirstFailure([id]);
            return control.Captured().All;
        });

        // Counting takes its time, which is none of the tests' own.
        control.StopCapture();
        foreach (var id in tests.Ids)
        {
            var watch = Stopwatch.StartNew();
            var failed = tests.FirstFailure([id]) is not null;
            var seconds = watch.Elapsed.TotalSeconds;
            var (covered, (before, statics)) = (second[id], first[id]);
            output.WriteLine(JsonSerializer.Serialize(new TestCoverage(
                id,
                tests.NameOf(id),
                seconds,
                failed,
                [.. covered.Except(statics)],
                [.. before.Except(covered).Union(statics)])));
        }
    }

    /// <summary>The switch inside the changed assembly; processes that a test starts see it, too.</summary>
    private sealed class Control
    {
        private const string Variable = "ACTIVE_MUTATION";

        private readonly Type _type;
        private string _childFiles = "";

        public Control(Assembly assembly)
        {
            _type = assembly.GetTypes().Single(static type => type.Name == Switch);
            RuntimeHelpers.RunClassConstructor(_type.TypeHandle);
            Environment.SetEnvironmentVariable("STRYKER_MUTANT_ID_CONTROL_VAR", Variable);
            Activate(None);
        }

        public void Activate(int mutant)
        {
            Environment.SetEnvironmentVariable(Variable, mutant == None ? null : mutant.ToString(CultureInfo.InvariantCulture));
            _type.GetField("ActiveMutant")!.SetValue(null, mutant);
        }

        public void Capture()
        {
            _type.GetField("CaptureCoverage")!.SetValue(null, true);
            _childFiles = $"covered-{Environment.ProcessId}";
            Environment.SetEnvironmentVariable("STRYKER_COVERAGE_FILE", _childFiles + ".txt");
        }

        public void StopCapture()
        {
            _type.GetField("CaptureCoverage")!.SetValue(null, false);
            Environment.SetEnvironmentVariable("STRYKER_COVERAGE_FILE", null);
        }

        /// <summary>What was come by since the last call, here and in ended child processes; of these, what runs as a type is loaded.</summary>
        public (IReadOnlySet<int> All, IReadOnlySet<int> Static) Captured()
        {
            var data = (IList<int>[])_type.GetMethod("GetCoverageData")!.Invoke(null, null)!;
            var (all, statics) = (data[0].ToHashSet(), data[1].ToHashSet());
            foreach (var file in Directory.GetFiles(Path.GetTempPath(), _childFiles + "-*.txt"))
            {
                // Two lists of numbers with a semicolon between. Each process is fresh, so nothing counts as static there.
                all.UnionWith(File.ReadAllText(file)
                    .Split(',', ';')
                    .Where(static part => part.Length > 0)
                    .Select(static part => int.Parse(part, CultureInfo.InvariantCulture)));
                File.Delete(file);
            }

            return (all, statics);
        }
    }

    /// <summary>The tests of an assembly, run in this process one after the other.</summary>
    private sealed class Tests : IDisposable
    {
        private readonly XunitTestFramework _framework = new(new Sink(static _ => true));
        private readonly Dictionary<string, IXunitTestCase> _cases;
        private readonly AssemblyName _assembly;

        public Tests(Assembly assembly, IReadOnlyList<string> parts)
        {
            _assembly = assembly.GetName();
            List<IXunitTestCase> cases = [];
            using var found = new ManualResetEventSlim();
            using var discoverer = _framework.GetDiscoverer(Reflector.Wrap(assembly));
            discoverer.Find(
                includeSourceInformation: false,
                new Sink(message =>
                {
                    if (message is ITestCaseDiscoveryMessage { TestCase: IXunitTestCase test })
                    {
                        cases.Add(test);
                    }
                    else if (message is IDiscoveryCompleteMessage)
                    {
                        found.Set();
                    }

                    return true;
                }),
                new Options { ["xunit.discovery.PreEnumerateTheories"] = true });
            found.Wait();
            _cases = cases.Where(test => test.SkipReason is null && (parts.Count == 0 || parts.Any(FullNameOf(test).Contains)))
                .DistinctBy(static test => test.UniqueID).ToDictionary(static test => test.UniqueID);
        }

        public IEnumerable<string> Ids => _cases.Keys;

        public string NameOf(string id) => _cases[id].DisplayName;

        /// <summary>Runs tests, in groups that grow, until one fails; returns which.</summary>
        public string? FirstFailure(IReadOnlyList<string> ids)
        {
            for (int done = 0, size = 1; done < ids.Count; done += size, size *= 4)
            {
                if (FirstFailureOf([.. ids.Skip(done).Take(size)]) is { } failed)
                {
                    return failed;
                }
            }

            return null;
        }

        public void Dispose() => _framework.Dispose();

        private string? FirstFailureOf(string[] ids)
        {
            string? failed = null;
            using var ended = new ManualResetEventSlim();
            using var executor = _framework.GetExecutor(_assembly);
            executor.RunTests(
                ids.Select(id => _cases[id]),
                new Sink(message =>
                {
                    // Whatever else fails is the fault of the tests that ran, of which the first stands for all.
                    failed ??= message switch
                    {
                        ITestFailed failure => failure.TestCase.UniqueID,
                        IFailureInformation => ids[0],
                        _ => null,
                    };
                    if (message is ITestAssemblyFinished)
                    {
                        ended.Set();
                    }

                    return failed is null;
                }),
                new Options { ["xunit.execution.DisableParallelization"] = true, ["xunit.execution.SynchronousMessageReporting"] = true });
            ended.Wait();
            return failed;
        }

        private static string FullNameOf(IXunitTestCase test) => $"{test.TestMethod.TestClass.Class.Name}.{test.TestMethod.Method.Name}";
    }

    private sealed class Sink(Func<IMessageSinkMessage, bool> hear) : LongLivedMarshalByRefObject, IMessageSink
    {
        public bool OnMessage(IMessageSinkMessage message) => hear(message);
    }

    private sealed class Options : Dictionary<string, object>, ITestFrameworkDiscoveryOptions, ITestFrameworkExecutionOptions
    {
        public TValue GetValue<TValue>(string name) => TryGetValue(name, out var value) ? (TValue)value : default!;

        public void SetValue<TValue>(string name, TValue value) => this[name] = value!;
    }
}
