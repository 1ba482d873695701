using LoraNotebooks.Adapters;

namespace LoraNotebooks.Training.Loop;

/// <summary>
/// The loop's settings that are right alone and wrong together: with each other, with the adapters, with the plan. What cannot work is a fault; what works, but
/// not as it seems, a warning.
/// </summary>
internal static class LoopPairs
{
    private static readonly LearningRateSchedule Usual = new();

    /// <summary>What cannot work together. Settings that are wrong alone are not looked at.</summary>
    public static IReadOnlyList<string> Faults(TrainingConfig config)
    {
        var faults = new Faults();
        foreach (var (name, lora, rate) in config.Adapters())
        {
            faults.Require(
                config.ScaleWeightNorms is null || (lora.Method.Honours.HasFlag(HonouredSettings.NormBound) && !lora.UseDora),
                $"ScaleWeightNorms: got {config.ScaleWeightNorms} with {name} of {Kind(lora)}, expected plain LoRA, whose norms alone are bounded, or null");
            faults.Require(
                config.LoraPlusLrRatio is null || lora.Method.Honours.HasFlag(HonouredSettings.LoraPlus),
                $"LoraPlusLrRatio: got {config.LoraPlusLrRatio} with {name} of {Kind(lora)}, expected LoRA, which alone has a matrix B, or null");
            faults.Require(
                config.Schedule.Kind != ScheduleKind.Polynomial || !(rate > 0) || config.Schedule.FinalRate < rate,
                $"Schedule.FinalRate: got {config.Schedule.FinalRate} with a rate of {rate} for {name}, "
                    + "expected a smaller one: a polynomial falls from the rate to it");
        }

        return faults;
    }

    /// <summary>What works, but not as it seems.</summary>
    public static IReadOnlyList<string> Warnings(TrainingConfig config) =>
    [
        .. When(
            config.SaveEveryEpochs > config.Epochs,
            $"SaveEveryEpochs is {config.SaveEveryEpochs}, but there are {Listing.Count(config.Epochs, "epoch")}: only the final file is written"),
        .. When(
            config.SampleEveryEpochs > config.Epochs,
            $"SampleEveryEpochs is {config.SampleEveryEpochs}, but there are {Listing.Count(config.Epochs, "epoch")}: samples are drawn before training only"),
        .. config.Optimizer.Warnings(config),
        .. ScheduleWarnings(config.Schedule),
    ];

    /// <summary>What works, but not as it seems with these numbers of examples and steps.</summary>
    public static IReadOnlyList<string> Warnings(TrainingConfig config, TrainingPlan plan)
    {
        var (schedule, total) = (config.Schedule, plan.TotalSteps);
        var decay = schedule.Kind == ScheduleKind.WarmupStableDecay ? schedule.DecaySteps(total) : 0;
        return
        [
            .. When(
                config.BatchSize > plan.ExamplesPerEpoch,
                $"BatchSize is {config.BatchSize}, but an epoch shows {Listing.Count(plan.ExamplesPerEpoch, plan.Unit)}: batches are that small"),
            .. When(
                config.GradientAccumulation > plan.BatchesPerEpoch,
                $"GradientAccumulation is {config.GradientAccumulation}, "
                    + $"but an epoch has {plan.BatchesPerEpoch} batch{(plan.BatchesPerEpoch == 1 ? "" : "es")}: a step averages no more"),
            .. When(
                schedule.Kind != ScheduleKind.Constant && schedule.Kind != ScheduleKind.PiecewiseConstant && plan.WarmupSteps >= total,
                $"Schedule.Warmup is {plan.WarmupSteps} of {Listing.Count(total, "step")}: the learning rate never arrives"),
            .. When(
                plan.WarmupSteps < total && plan.WarmupSteps + decay > total,
                $"Schedule.Warmup and Decay are {plan.WarmupSteps} and {decay} of {Listing.Count(total, "step")}: the decay begins before the warm-up ends"),
            .. When(
                schedule.Kind == ScheduleKind.PiecewiseConstant && schedule.Pieces.Any(piece => piece.Until >= total),
                $"Schedule.Pieces has ends beyond the {Listing.Count(total, "step")} of the run: what comes after them is never reached"),
        ];
    }

    /// <summary>A warning that a setting does nothing, if a condition holds.</summary>
    public static IEnumerable<string> NoEffect(bool condition, string setting, string reason) => When(condition, $"{setting} has no effect: {reason}");

    /// <summary>A warning, if a condition holds.</summary>
    public static IEnumerable<string> When(bool condition, string warning) => condition ? [warning] : [];

    private static IEnumerable<string> ScheduleWarnings(LearningRateSchedule schedule)
    {
        var (usual, kind) = (Usual, schedule.Kind);
        return
        [
            .. NoEffect(
                schedule.Warmup > 0 && kind is (ScheduleKind.Constant or ScheduleKind.PiecewiseConstant),
                "Schedule.Warmup",
                $"{kind} has none{(kind == ScheduleKind.Constant ? "; take ConstantWithWarmup" : "")}"),
            .. NoEffect(
                schedule.Cycles is not null
                    && kind is not (ScheduleKind.Cosine or ScheduleKind.CosineWithRestarts or ScheduleKind.CosineWithMinLr or ScheduleKind.WarmupStableDecay),
                "Schedule.Cycles",
                $"{kind} has none"),
            .. NoEffect(schedule.Power != usual.Power && kind != ScheduleKind.Polynomial, "Schedule.Power", $"{kind} has none"),
            .. NoEffect(schedule.FinalRate != usual.FinalRate && kind != ScheduleKind.Polynomial, "Schedule.FinalRate", $"{kind} has none"),
            .. NoEffect(
                schedule.FinalRatio != usual.FinalRatio && kind is not (ScheduleKind.CosineWithMinLr or ScheduleKind.WarmupStableDecay or ScheduleKind.Rex),
                "Schedule.FinalRatio",
                $"{kind} has none"),
            .. NoEffect(schedule.Decay != usual.Decay && kind != ScheduleKind.WarmupStableDecay, "Schedule.Decay", $"{kind} has none"),
            .. NoEffect(schedule.Timescale is not null && kind != ScheduleKind.InverseSqrt, "Schedule.Timescale", $"{kind} has none"),
            .. NoEffect(schedule.Pieces.Count > 0 && kind != ScheduleKind.PiecewiseConstant, "Schedule.Pieces", $"{kind} has none"),
        ];
    }

    private static string Kind(LoraConfig lora) => lora.UseDora ? "DoRA" : lora.Method.ToString();
}
