using System.Diagnostics;
using System.Globalization;
using LoraNotebooks.Tests.Models;
using Xunit.Abstractions;

namespace LoraNotebooks.Tests.Fuzzing;

[CollectionDefinition(nameof(ReaderFuzzTests), DisableParallelization = true)]
public sealed class AloneInTheProcess;

/// <summary>
/// Damaged files, thousands of them: every reader either reads one or throws what it documents, with a message that says what to do. It ends soon,
/// takes little more memory than the file's size, leaves no tensor and no open file. A stack overflow would end the process, and so fail the run.
/// </summary>
/// <remarks>The variable LORANOTEBOOKS_FUZZ_SECONDS makes a longer search of other damages: it goes on until that time is over.</remarks>
[Collection(nameof(ReaderFuzzTests))]
public sealed class ReaderFuzzTests(ITestOutputHelper output)
{
    private const int Mutations = 11_000;
    private const int FailuresPerTarget = 3;
    private const double MostSeconds = 1;
    private const long SpareBytes = 64 << 20;
    private const int SmallStack = 1 << 20; // as Windows gives its main thread

    /// <summary>Words of which every message has one: they lead over to what would be right.</summary>
    private static readonly string[] Remedies = ["expected", "Expected", "supported is", "needs", "lacks", "missing", "Download", "Keep one", "Correct it", "close names are"];

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly List<string> failures = [];
    private readonly Dictionary<string, Tally> tallies = [];
    private string current = "";
    private long progress;

    [Fact]
    public void Readers_DamagedFiles_EndInSuccessOrAClearError()
    {
        using var root = new TemporaryFolder();
        var targets = FuzzTarget.All(root);
        var shares = targets.Sum(static target => target.Share);
        var more = double.Parse(Environment.GetEnvironmentVariable("LORANOTEBOOKS_FUZZ_SECONDS") ?? "0", CultureInfo.InvariantCulture);
        var clock = Stopwatch.StartNew();
        var rounds = 0;
        var worker = new Thread(
            () =>
            {
                try
                {
                    do
                    {
                        foreach (var target in targets)
                        {
                            Fuzz(target, rounds, (Mutations * target.Share + shares - 1) / shares);
                        }

                        rounds++;
                    }
                    while (clock.Elapsed.TotalSeconds < more && failures.Count == 0);
                }
                catch (Exception error)
                {
                    failures.Add($"{current}: {error}"); // of the harness itself, or of a sample that nothing has damaged
                }
            },
            SmallStack)
        { IsBackground = true };
        worker.Start();

        var seen = 0L;
        while (!worker.Join(Patience))
        {
            Assert.True(Interlocked.Read(ref progress) != seen, $"{current} did not end within {Patience.TotalSeconds} s.");
            seen = Interlocked.Read(ref progress);
        }

        Report(clock.Elapsed);
        Assert.True(failures.Count == 0, string.Join("\n\n", failures));
        Assert.True(tallies.Values.Sum(static tally => tally.Count) >= 10_000);
        Assert.All(tallies, static pair => Assert.True(pair.Value.Refused > 0, $"{pair.Key}: no damage was refused, so the damages miss this reader."));
    }

    private void Fuzz(FuzzTarget target, int round, int count)
    {
        var path = Path.Combine(target.Folder, target.File);
        var original = File.ReadAllBytes(path);
        var tally = tallies.TryGetValue(target.Name, out var known) ? known : tallies[target.Name] = new Tally();
        current = $"{target.Name}, undamaged";
        target.Read(target.Folder); // The sample itself is good, and what is made only once is made now.
        for (var (i, most) = (0, failures.Count + FailuresPerTarget); i < count && failures.Count < most; i++)
        {
            // A seed from the name, so that a new target leaves the others' damages as they are.
            var seed = HashCode(target.Name) + 1_000_003 * round + i;
            var bytes = target.Mutate(new Random(seed), original);
            current = $"{target.Name}, seed {seed}";
            File.WriteAllBytes(path, bytes);
            var attempt = Attempt.Run(target, path);
            Interlocked.Increment(ref progress);
            tally.Add(attempt);
            if (Fault(target, attempt, FolderSize(target.Folder)) is { } fault)
            {
                failures.Add($"{current}: {fault}\n{Excerpt(bytes)}");
            }
        }

        File.WriteAllBytes(path, original);
    }

    private static string? Fault(FuzzTarget target, Attempt attempt, long size) => attempt switch
    {
        { Error: { } error } when !target.Documented.Contains(error.GetType()) => $"threw an exception that is not documented: {error}",
        { Error.Message: var message } when !Remedies.Any(word => message.Contains(word, StringComparison.Ordinal)) => $"the message says nothing of what would be right: {Brief(message)}",
        { Error.Message: var message } when message.Length > 2_000 + 2 * size => $"the message has {message.Length} characters: {Brief(message)}",
        { Seconds: > MostSeconds } => $"took {attempt.Seconds:F1} s",
        _ when attempt.Bytes > size + SpareBytes => $"took {attempt.Bytes / 1e6:F0} MB of memory, the files have {size / 1e6:F1} MB",
        { LeftTensors: not 0 } => $"left {attempt.LeftTensors} tensors; {Brief(attempt.Error?.Message ?? "it was read")}",
        { IsHeld: true } => $"left the file open; {Brief(attempt.Error?.Message ?? "it was read")}",
        _ => null,
    };

    private static long FolderSize(string folder) => new DirectoryInfo(folder).EnumerateFiles("*", SearchOption.AllDirectories).Sum(static file => file.Length);

    private static int HashCode(string text) => text.Aggregate(17, static (hash, letter) => unchecked(31 * hash + letter)) & 0xFFFFFFF;

    private static string Excerpt(byte[] bytes) => Brief(string.Concat(System.Text.Encoding.Latin1.GetString(bytes).Select(static c => char.IsControl(c) ? '·' : c)));

    private static string Brief(string text) => text.Length <= 400 ? text : $"{text[..400]}… ({text.Length} characters)";

    private void Report(TimeSpan elapsed)
    {
        output.WriteLine("reader                             mutations      read   refused   most ms   most MB");
        foreach (var (name, tally) in tallies)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{name,-33} {tally.Count,10} {tally.Count - tally.Refused,9} {tally.Refused,9} {1000 * tally.MostSeconds,9:F1} {tally.MostBytes / 1e6,9:F1}"));
        }

        output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{tallies.Values.Sum(static tally => tally.Count)} mutations in {elapsed.TotalSeconds:F1} s"));
    }

    private sealed class Tally
    {
        public int Count { get; private set; }

        public int Refused { get; private set; }

        public double MostSeconds { get; private set; }

        public long MostBytes { get; private set; }

        public void Add(Attempt attempt)
        {
            Count++;
            Refused += attempt.Error is null ? 0 : 1;
            MostSeconds = Math.Max(MostSeconds, attempt.Seconds);
            MostBytes = Math.Max(MostBytes, attempt.Bytes);
        }
    }
}
