using LoraNotebooks.Models;

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
}

/// <summary>The learning rate η of each optimizer step: a linear warm-up from 0, then the curve of <see cref="Kind"/>.</summary>
/// <remarks>Source: diffusers, optimization.py; kohya-ss/sd-scripts, library/train_util.py, <c>get_scheduler_fix</c>.</remarks>
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
    /// <see cref="ScheduleKind.Cosine"/>: whole waves, default ½. Without meaning for the other kinds.
    /// </summary>
    public double? Cycles { get; init; }

    /// <summary>The exponent of <see cref="ScheduleKind.Polynomial"/>. Default 1.</summary>
    public double Power { get; init; } = 1;

    /// <summary>The rate at which <see cref="ScheduleKind.Polynomial"/> ends, default 1e-7. It must be below the base rate.</summary>
    public double FinalRate { get; init; } = 1e-7;

    /// <summary>The warm-up's length in optimizer steps.</summary>
    /// <param name="totalSteps">T, the number of optimizer steps of the run.</param>
    public int WarmupSteps(int totalSteps) => (int)(Warmup < 1 ? Warmup * totalSteps : Warmup);

    /// <summary>η of one optimizer step.</summary>
    /// <param name="step">The number of optimizer steps taken before, from 0.</param>
    /// <param name="totalSteps">T, the number of optimizer steps of the run; beyond it the curve stays at its end, or goes on for <see cref="ScheduleKind.Cosine"/>.</param>
    /// <param name="baseRate">The rate that the curve starts from.</param>
    public double Rate(int step, int totalSteps, double baseRate)
    {
        if (Kind == ScheduleKind.Constant)
        {
            return baseRate;
        }

        var warmup = WarmupSteps(totalSteps);
        if (step < warmup)
        {
            return baseRate * ((double)step / warmup);
        }

        // p: the part of the steps after the warm-up that is done.
        var p = (double)(step - warmup) / Math.Max(1, totalSteps - warmup);
        return Kind switch
        {
            ScheduleKind.Linear => baseRate * Math.Max(0, 1 - p),
            ScheduleKind.Cosine => baseRate * (1 + Math.Cos(Math.PI * 2 * (Cycles ?? 0.5) * p)) / 2,
            ScheduleKind.CosineWithRestarts => p >= 1 ? 0 : baseRate * (1 + Math.Cos(Math.PI * ((Cycles ?? 1) * p % 1))) / 2,
            ScheduleKind.Polynomial => (baseRate - FinalRate) * Math.Pow(Math.Max(0, 1 - p), Power) + FinalRate,
            _ => baseRate,
        };
    }

    /// <summary>Every fault of these settings: what was got, what is expected. Empty if there is none.</summary>
    public IReadOnlyList<string> Validate()
    {
        var faults = new ConfigFaults();
        faults.Require(Enum.IsDefined(Kind), $"Kind: got {Kind}, expected one of {string.Join(", ", Enum.GetNames<ScheduleKind>())}");
        faults.Require(double.IsFinite(Warmup) && Warmup >= 0 && (Warmup < 1 || Warmup % 1 == 0), $"Warmup: got {Warmup}, expected 0 (none), a part of all steps below 1, or a whole number of steps");
        faults.Require(Cycles is null || (double.IsFinite(Cycles.Value) && Cycles > 0), $"Cycles: got {Cycles}, expected a positive number");
        faults.Require(Kind != ScheduleKind.CosineWithRestarts || Cycles is null || Cycles % 1 == 0, $"Cycles: got {Cycles}, expected a whole number for cosine with restarts");
        faults.Require(double.IsFinite(Power) && Power > 0, $"Power: got {Power}, expected a positive number; 1 is a straight line");
        faults.Require(double.IsFinite(FinalRate) && FinalRate >= 0, $"FinalRate: got {FinalRate}, expected 0 or more");
        return faults.All;
    }

    /// <summary>Throws if there are faults.</summary>
    /// <exception cref="ArgumentException">There are; the message lists them all.</exception>
    public void ThrowIfInvalid() => ConfigFaults.ThrowIfAny(Validate());
}
