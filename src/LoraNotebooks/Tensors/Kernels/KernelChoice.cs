using System.Diagnostics;
using static TorchSharp.torch;

namespace LoraNotebooks.Tensors.Kernels;

/// <summary>Which of two ways to compute the same is taken on this machine.</summary>
/// <param name="Way">The way.</param>
/// <param name="Ratio">The time of the other way over the usual one's, where it was measured; <see langword="null"/> where the way is set.</param>
public sealed record KernelVerdict(string Way, double? Ratio);

/// <summary>
/// A question that only the processor can answer: of two ways to compute the same, which is faster? It is measured once, at the first work for which
/// it matters, and kept per machine, so that the same machine always answers alike.
/// </summary>
public sealed class KernelChoice
{
    /// <summary>The share of the usual way's time that the other may take at most, so that no narrow race decides about digits.</summary>
    private const double Worthwhile = 0.85;

    private const int Rounds = 5;

    /// <summary>A way that took so many times as long at the first try is not tried again: without instructions for a type, a try can take seconds.</summary>
    private const double Hopeless = 4;

    private readonly KernelSettings _settings;
    private readonly KernelStore _store;
    private readonly Func<(Action Usual, Action Other)> _trial;
    private readonly Lock _gate = new();
    private volatile KernelVerdict? _verdict;

    /// <summary>Creates the question; <see cref="KernelChoices"/> asks it.</summary>
    /// <param name="name">What is computed.</param>
    /// <param name="usual">The way that is taken where nothing is known.</param>
    /// <param name="other">The other one.</param>
    /// <param name="settings">Answers in advance.</param>
    /// <param name="store">What was measured before.</param>
    /// <param name="trial">Prepares the work that both are timed at, inside a scope of its own.</param>
    internal KernelChoice(
        string name,
        string usual,
        string other,
        KernelSettings settings,
        KernelStore store,
        Func<(Action Usual, Action Other)> trial)
    {
        (Name, Usual, Other) = (name, usual, other);
        (_settings, _store, _trial) = (settings, store, trial);
    }

    /// <summary>What is computed.</summary>
    public string Name { get; }

    /// <summary>The way that is taken where nothing is known.</summary>
    public string Usual { get; }

    /// <summary>The way that is taken where it is clearly faster.</summary>
    public string Other { get; }

    /// <summary>Whether the question was answered in this process.</summary>
    public bool IsDecided => _verdict is not null;

    /// <summary>The answer; the first one in a process reads what is kept, or measures, which takes up to a second.</summary>
    public KernelVerdict Verdict => _verdict ?? Decide();

    /// <summary>Whether the other way is taken.</summary>
    public bool TakesOther => Verdict.Way == Other;

    /// <summary>Takes a way until the result is disposed, for tests.</summary>
    internal IDisposable Take(string way)
    {
        var before = _verdict;
        _verdict = new(way, null);
        return new OnDispose(() => _verdict = before);
    }

    /// <summary>Answers by a switch, by what is kept, or by measuring.</summary>
    private KernelVerdict Decide()
    {
        lock (_gate)
        {
            return _verdict ??= _settings.For(this) is { } set ? new(set, null) : _store.Find(this) ?? Measured();
        }
    }

    private KernelVerdict Measured()
    {
        var ratio = Measure(_trial);
        var verdict = new KernelVerdict(ratio <= Worthwhile ? Other : Usual, Math.Round(ratio, 3));
        _store.Keep(this, verdict);
        return verdict;
    }

    /// <summary>The time of the other way over the usual one's, by turns, so that whatever else the machine does meets both alike.</summary>
    internal static double Measure(Func<(Action Usual, Action Other)> trial)
    {
        using var scope = NewDisposeScope();
        using var recorded = enable_grad();
        var (usual, other) = trial();
        Seconds(usual);
        var first = (Usual: Seconds(usual), Other: Seconds(other));
        if (first.Other > Hopeless * first.Usual)
        {
            return first.Other / first.Usual;
        }

        List<double> ratios = [];
        for (var round = 0; round < Rounds; round++)
        {
            var (usualSeconds, otherSeconds) = (Seconds(usual), Seconds(other));
            ratios.Add(otherSeconds / usualSeconds);
        }

        return ratios.Order().ElementAt(Rounds / 2);
    }

    private static double Seconds(Action work)
    {
        using var scope = NewDisposeScope();
        var clock = Stopwatch.StartNew();
        work();
        return clock.Elapsed.TotalSeconds;
    }
}
