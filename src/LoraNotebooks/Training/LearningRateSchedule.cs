using System.Globalization;

namespace LoraNotebooks.Training;

/// <summary>How the learning rate changes over a run.</summary>
public enum ScheduleKind
{
    /// <summary>The base rate throughout; a warm-up is ignored, as upstream does.</summary>
    Constant,

    /// <summary>The base rate after the warm-up.</summary>
    ConstantWithWarmup,

    /// <summary>A straight line down to 0.</summary>
    Linear,

    /// <summary>A half cosine wave down to 0.</summary>
    Cosine,

    /// <summary>Half cosine waves down to 0, each starting again at the base rate (Loshchilov and Hutter 2017, arXiv:1608.03983).</summary>
    CosineWithRestarts,

    /// <summary>A power of the part that remains, down to <see cref="LearningRateSchedule.FinalRate"/>.</summary>
    Polynomial,

    /// <summary>
    /// √(τ/(step + τ − warm-up)) with the time scale τ of <see cref="LearningRateSchedule.Timescale"/>: it falls ever more slowly and needs no end.
    /// </summary>
    InverseSqrt,

    /// <summary>A half cosine wave down to <see cref="LearningRateSchedule.FinalRatio"/> of the base rate.</summary>
    CosineWithMinLr,

    /// <summary>
    /// The base rate until the last <see cref="LearningRateSchedule.Decay"/> steps, then a half cosine wave down to
    /// <see cref="LearningRateSchedule.FinalRatio"/> of it, where the warm-up starts too (Hu et al. 2024, arXiv:2404.06395, section 4).
    /// </summary>
    WarmupStableDecay,

    /// <summary>Factors that hold up to given steps: <see cref="LearningRateSchedule.Pieces"/>.</summary>
    PiecewiseConstant,

    /// <summary>REX, (1−p)/(½ + ½(1−p)): nearly a straight line at first, steep at the end (Chen et al. 2021, arXiv:2107.04197, equation 2).</summary>
    Rex,
}

/// <summary>A factor on the base rate and the step before which it holds.</summary>
/// <param name="Factor">The factor, 0 or more.</param>
/// <param name="Until">The step, from 0, with which the next piece begins; <see langword="null"/> for the last piece.</param>
public readonly record struct RatePiece(double Factor, int? Until = null);

/// <summary>The learning rate η of each optimizer step: a linear warm-up from 0, then the curve of <see cref="Kind"/>.</summary>
/// <remarks>Source: diffusers and transformers, optimization.py; kohya-ss/sd-scripts, library/train_util.py, <c>get_scheduler_fix</c>.</remarks>
public sealed record LearningRateSchedule
{
    /// <summary>The curve. Default a half cosine wave.</summary>
    public ScheduleKind Kind { get; init; } = ScheduleKind.Cosine;

    /// <summary>
    /// The length of the warm-up: a whole number of optimizer steps, or, below 1, a part of all steps, rounded down. Default 0: none.
    /// </summary>
    public double Warmup { get; init; }

    /// <summary>
    /// Cycles after the warm-up. <see cref="ScheduleKind.CosineWithRestarts"/>: how often the wave starts, a whole number, default 1.
    /// <see cref="ScheduleKind.Cosine"/>, <see cref="ScheduleKind.CosineWithMinLr"/> and <see cref="ScheduleKind.WarmupStableDecay"/>:
    /// whole waves, default ½. Without meaning for the other kinds.
    /// </summary>
    public double? Cycles { get; init; }

    /// <summary>The exponent of <see cref="ScheduleKind.Polynomial"/>. Default 1.</summary>
    public double Power { get; init; } = 1;

    /// <summary>The rate at which <see cref="ScheduleKind.Polynomial"/> ends, default 1e-7. It must be below the base rate.</summary>
    public double FinalRate { get; init; } = 1e-7;

    /// <summary>
    /// The part of the base rate at which <see cref="ScheduleKind.CosineWithMinLr"/>, <see cref="ScheduleKind.WarmupStableDecay"/> and
    /// <see cref="ScheduleKind.Rex"/> end, 0 to 1. Default 0.
    /// </summary>
    public double FinalRatio { get; init; }

    /// <summary>
    /// The length of the decay of <see cref="ScheduleKind.WarmupStableDecay"/>, counted as <see cref="Warmup"/>: steps, or, below 1, a part of
    /// all steps. Default 0.2.
    /// </summary>
    public double Decay { get; init; } = 0.2;

    /// <summary>τ of <see cref="ScheduleKind.InverseSqrt"/> in steps. Default the warm-up's length, or 10,000 without a warm-up.</summary>
    public int? Timescale { get; init; }

    /// <summary>The pieces of <see cref="ScheduleKind.PiecewiseConstant"/> in order; the last one has no end. Default none.</summary>
    public IReadOnlyList<RatePiece> Pieces { get; init; } = [];

    /// <summary>The warm-up's length in optimizer steps.</summary>
    /// <param name="totalSteps">T, the number of optimizer steps of the run.</param>
    public int WarmupSteps(int totalSteps) => Steps(Warmup, totalSteps);

    /// <summary>The length of the decay of <see cref="ScheduleKind.WarmupStableDecay"/> in optimizer steps.</summary>
    /// <param name="totalSteps">T, the number of optimizer steps of the run.</param>
    internal int DecaySteps(int totalSteps) => Steps(Decay, totalSteps);

    /// <summary>Pieces from diffusers' notation: <c>"1:10,0.1:20,0.005"</c> is 1 before step 10, 0.1 before step 20, then 0.005.</summary>
    /// <param name="rules">The text.</param>
    /// <exception cref="FormatException">It is something else; the message says where.</exception>
    public static IReadOnlyList<RatePiece> ParsePieces(string rules)
    {
        ArgumentNullException.ThrowIfNull(rules);
        string[] parts = rules.Split(',');
        return [.. parts.Select((part, i) => part.Split(':') switch
        {
            [var factor, var until] when i < parts.Length - 1
                && Number(factor) is { } value
                && int.TryParse(until, NumberStyles.None, CultureInfo.InvariantCulture, out var step) => new RatePiece(value, step),
            [var factor] when i == parts.Length - 1 && Number(factor) is { } value => new RatePiece(value),
            _ => throw new FormatException(
                $"Got '{part}' in the pieces '{rules}'; "
                    + "write a factor and the step before which it holds (0.1:20), and at the end a factor alone (0.005)."),
        })];

        static double? Number(string text) => double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var value) ? value : null;
    }

    /// <summary>η of one optimizer step.</summary>
    /// <param name="step">The number of optimizer steps taken before, from 0.</param>
    /// <param name="totalSteps">
    /// T, the number of optimizer steps of the run; beyond it the curve stays at its end, or goes on for <see cref="ScheduleKind.Cosine"/>.
    /// </param>
    /// <param name="baseRate">The rate that the curve starts from.</param>
    public double Rate(int step, int totalSteps, double baseRate)
    {
        if (Kind is ScheduleKind.Constant or ScheduleKind.PiecewiseConstant)
        {
            return baseRate * (Kind == ScheduleKind.Constant ? 1 : Pieces.First(piece => piece.Until is null || step < piece.Until).Factor);
        }

        var warmup = WarmupSteps(totalSteps);
        if (step < warmup)
        {
            var done = (double)step / warmup;
            return baseRate * (Kind == ScheduleKind.WarmupStableDecay ? Raised(done) : done);
        }

        // p: the part of the steps after the warm-up that is done.
        var p = (double)(step - warmup) / Math.Max(1, totalSteps - warmup);
        return Kind switch
        {
            ScheduleKind.Linear => baseRate * Math.Max(0, 1 - p),
            ScheduleKind.Cosine => baseRate * Wave(p),
            ScheduleKind.CosineWithRestarts => p >= 1 ? 0 : baseRate * (1 + Math.Cos(Math.PI * ((Cycles ?? 1) * p % 1))) / 2,
            ScheduleKind.Polynomial => (baseRate - FinalRate) * Math.Pow(Math.Max(0, 1 - p), Power) + FinalRate,
            ScheduleKind.InverseSqrt => baseRate / Math.Sqrt((double)(step - warmup + Tau(warmup)) / Tau(warmup)),
            ScheduleKind.CosineWithMinLr => baseRate * Raised(Wave(p)),
            ScheduleKind.WarmupStableDecay => baseRate * Raised(Wave(DecayDone(step, totalSteps))),
            ScheduleKind.Rex => baseRate * Raised(Math.Max(0, 1 - p) / (0.5 + 0.5 * Math.Max(0, 1 - p))),
            _ => baseRate,
        };
    }

    /// <summary>Every fault of these settings: what was got, what is expected. Empty if there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = new Faults();
        faults.Require(Enum.IsDefined(Kind), $"Kind: got {Kind}, expected one of {string.Join(", ", Enum.GetNames<ScheduleKind>())}");
        faults.Require(IsLength(Warmup), $"Warmup: got {Warmup}, expected 0 (none), a part of all steps below 1, or a whole number of steps");
        faults.Require(Cycles is null || (double.IsFinite(Cycles.Value) && Cycles > 0), $"Cycles: got {Cycles}, expected a positive number");
        faults.Require(
            Kind != ScheduleKind.CosineWithRestarts || Cycles is null || Cycles % 1 == 0,
            $"Cycles: got {Cycles}, expected a whole number for cosine with restarts");
        faults.Require(double.IsFinite(Power) && Power > 0, $"Power: got {Power}, expected a positive number; 1 is a straight line");
        faults.Require(double.IsFinite(FinalRate) && FinalRate >= 0, $"FinalRate: got {FinalRate}, expected 0 or more");
        faults.Require(FinalRatio is >= 0 and <= 1, $"FinalRatio: got {FinalRatio}, expected 0 to 1");
        faults.Require(IsLength(Decay), $"Decay: got {Decay}, expected 0 (none), a part of all steps below 1, or a whole number of steps");
        faults.Require(Timescale is null or > 0, $"Timescale: got {Timescale}, expected a positive number of steps, or null for the warm-up's length");
        faults.Require(
            Kind != ScheduleKind.PiecewiseConstant
                || (Pieces.Count > 0 && Pieces[^1].Until is null && Pieces.SkipLast(1).All(piece => piece.Until is not null)),
            $"Pieces: got {string.Join(", ", Pieces)}, expected at least one, and an end for each but the last");
        faults.Require(
            Pieces.Zip(Pieces.Skip(1)).All(static pair => pair.Second.Until is null || pair.Second.Until > pair.First.Until),
            $"Pieces: got {string.Join(", ", Pieces)}, expected each to end after the one before");
        faults.Require(
            Pieces.All(piece => double.IsFinite(piece.Factor) && piece.Factor >= 0),
            $"Pieces: got {string.Join(", ", Pieces)}, expected factors of 0 or more");
        return faults;
    }

    /// <summary>Throws if there are faults.</summary>
    /// <exception cref="ArgumentException">There are; the message lists them all.</exception>
    public void ThrowIfInvalid() => Faults.ThrowIfAny(Validate());

    /// <summary>The wave's height, from 1 to 0 over half a cycle.</summary>
    private double Wave(double p) => (1 + Math.Cos(Math.PI * 2 * (Cycles ?? 0.5) * p)) / 2;

    /// <summary>A height between 0 and 1 moved to between <see cref="FinalRatio"/> and 1.</summary>
    private double Raised(double height) => height * (1 - FinalRatio) + FinalRatio;

    private int Tau(int warmup) => Timescale ?? (warmup > 0 ? warmup : 10_000);

    /// <summary>The part of the decay at the end of the run that is done, 0 before it and 1 after.</summary>
    private double DecayDone(int step, int totalSteps)
    {
        var length = DecaySteps(totalSteps);

        // Without a decay that is 0, too, of a negative number divided by 0.
        return step >= totalSteps ? 1 : Math.Max(0, (double)(step - (totalSteps - length)) / length);
    }

    private static int Steps(double length, int totalSteps) => (int)(length < 1 ? length * totalSteps : length);

    private static bool IsLength(double length) => double.IsFinite(length) && length >= 0 && (length < 1 || length % 1 == 0);
}
