using System.Diagnostics;
using System.Globalization;
using LoraNotebooks.Tests.Models;
using Xunit.Abstractions;

namespace LoraNotebooks.Tests.Fuzzing;

/// <summary>
/// Damaged files, thousands of them: every reader either reads one or throws what it documents, with a message that says what to do. It ends soon,
/// takes little more memory than the file's size, leaves no tensor and no open file. A stack overflow would end the process, and so fail the run.
/// </summary>
/// <remarks>
/// The variable LORANOTEBOOKS_FUZZ_MUTATIONS sets how many there are, and LORANOTEBOOKS_FUZZ_SEED makes others of them, which a longer search wants.
/// </remarks>
public sealed class ReaderFuzzTests(ITestOutputHelper output)
{
    private const int FailuresPerTarget = 3;
    private const int AttemptsBetweenTrims = 100;
    private const int SmallStack = 1 << 20; // as Windows gives its main thread

    private static readonly int Mutations = Number("LORANOTEBOOKS_FUZZ_MUTATIONS", 10_500);
    private static readonly int Seed = Number("LORANOTEBOOKS_FUZZ_SEED", 0);

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly List<string> _failures = [];
    private readonly Dictionary<string, Tally> _tallies = [];
    private string _current = "";
    private long _progress;

    [Fact]
    public void Readers_DamagedFiles_EndInSuccessOrAClearError()
    {
        using var root = new TemporaryFolder();
        var targets = FuzzTarget.All(root);
        var shares = targets.Sum(static target => target.Share);
        var clock = Stopwatch.StartNew();
        var worker = new Thread(
            () =>
            {
                try
                {
                    foreach (var target in targets)
                    {
                        Fuzz(target, (Mutations * target.Share + shares - 1) / shares);
                    }
                }
                catch (Exception error)
                {
                    _failures.Add($"{_current}: {error}"); // of the harness itself, or of a sample that nothing has damaged
                }
            },
            SmallStack)
        { IsBackground = true };
        worker.Start();

        var seen = 0L;
        while (!worker.Join(Patience))
        {
            Assert.True(Interlocked.Read(ref _progress) != seen, $"{_current} did not end within {Patience.TotalSeconds} s.");
            seen = Interlocked.Read(ref _progress);
        }

        Report(clock.Elapsed);
        Assert.True(_failures.Count == 0, string.Join("\n\n", _failures));
        Assert.True(_tallies.Values.Sum(static tally => tally.Count) >= Mutations);
        Assert.All(_tallies, static pair => Assert.True(pair.Value.Refused > 0, $"{pair.Key}: no damage was refused, so the damages miss this reader."));
    }

    private void Fuzz(FuzzTarget target, int count)
    {
        var path = Path.Combine(target.Folder, target.File);
        var original = File.ReadAllBytes(path);
        var tally = _tallies.TryGetValue(target.Name, out var known) ? known : _tallies[target.Name] = new Tally();
        _current = $"{target.Name}, undamaged";
        target.Read(target.Folder); // The sample itself is good, and what is made only once is made now.
        for (var (i, most) = (0, _failures.Count + FailuresPerTarget); i < count && _failures.Count < most; i++)
        {
            // A seed from the name, so that a new target leaves the others' damages as they are.
            var seed = HashCode(target.Name) + 1_000_003 * Seed + i;
            var bytes = target.Mutate(new Random(seed), original);
            _current = $"{target.Name}, seed {seed}";
            File.WriteAllBytes(path, bytes);
            var size = FolderSize(target.Folder);
            if (i % AttemptsBetweenTrims == 0)
            {
                Attempt.GiveMemoryBack();
            }

            var attempt = Attempt.Run(target, path, size);
            Interlocked.Increment(ref _progress);
            tally.Add(attempt);
            if (attempt.Fault(target, size) is { } fault)
            {
                _failures.Add($"{_current}: {fault}\n{Excerpt(bytes)}");
            }
        }

        File.WriteAllBytes(path, original);
    }

    private static long FolderSize(string folder) => new DirectoryInfo(folder).EnumerateFiles("*", SearchOption.AllDirectories).Sum(static file => file.Length);

    private static int HashCode(string text) => text.Aggregate(17, static (hash, letter) => unchecked(31 * hash + letter)) & 0xFFFFFFF;

    private static string Excerpt(byte[] bytes) =>
        Attempt.Brief(string.Concat(System.Text.Encoding.Latin1.GetString(bytes).Select(static c => char.IsControl(c) ? '·' : c)));

    private static int Number(string variable, int otherwise) =>
        int.Parse(Environment.GetEnvironmentVariable(variable) ?? $"{otherwise}", CultureInfo.InvariantCulture);

    private void Report(TimeSpan elapsed)
    {
        output.WriteLine("reader                                 mutations      read   refused   mean ms   most ms   most MB");
        foreach (var (name, tally) in _tallies)
        {
            output.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{name,-37} {tally.Count,10} {tally.Count - tally.Refused,9} {tally.Refused,9} {1000 * tally.Seconds / Math.Max(tally.Count, 1),9:F1} {1000 * tally.MostSeconds,9:F1} {tally.MostBytes / 1e6,9:F1}"));
        }

        output.WriteLine(string.Create(
            CultureInfo.InvariantCulture,
            $"{_tallies.Values.Sum(static tally => tally.Count)} mutations of seed {Seed} in {elapsed.TotalSeconds:F1} s"));
    }

    private sealed class Tally
    {
        public int Count { get; private set; }

        public int Refused { get; private set; }

        public double Seconds { get; private set; }

        public double MostSeconds { get; private set; }

        public long MostBytes { get; private set; }

        public void Add(Attempt attempt)
        {
            Count++;
            Refused += attempt.Error is null ? 0 : 1;
            Seconds += attempt.Seconds;
            MostSeconds = Math.Max(MostSeconds, attempt.Seconds);
            MostBytes = Math.Max(MostBytes, attempt.Bytes);
        }
    }
}
