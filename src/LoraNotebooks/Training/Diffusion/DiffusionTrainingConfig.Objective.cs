using LoraNotebooks.Diffusion;

namespace LoraNotebooks.Training.Diffusion;

/// <content>What the model is asked to learn: noise, loss, and how much images and timesteps count. The names are those of kohya-ss/sd-scripts.</content>
public sealed partial record DiffusionTrainingConfig
{
    /// <summary>How differences between prediction and target count. Default squared.</summary>
    public LossType LossType { get; init; } = LossType.L2;

    /// <summary>How c of <see cref="LossType.Huber"/> and <see cref="LossType.SmoothL1"/> changes with the timestep. Default with the noise level.</summary>
    public HuberSchedule HuberSchedule { get; init; } = HuberSchedule.Snr;

    /// <summary>c, from where on these losses forgive, above 0 and up to 1. Default 0.1.</summary>
    public double HuberC { get; init; } = 0.1;

    /// <summary>What c is multiplied by, unless it follows the noise level. Default 1.</summary>
    public double HuberScale { get; init; } = 1;

    /// <summary>γ of min-SNR weighting, see <see cref="LossWeighting.MinSnr"/>; 5 is usual. Default none.</summary>
    public double? MinSnrGamma { get; init; }

    /// <summary>Whether noisy timesteps count more, see <see cref="LossWeighting.DebiasedEstimation"/>. Default no.</summary>
    public bool DebiasedEstimationLoss { get; init; }

    /// <summary>
    /// Whether the loss of a model that predicts v is weighed like that of one that
    /// predicts ε, see <see cref="LossWeighting.VelocityLikeNoise"/>. Default no.
    /// </summary>
    public bool ScaleVPredLossLikeNoisePred { get; init; }

    /// <summary>How much of the loss of v is added to that of ε, see <see cref="LossWeighting.NoiseLikeVelocity"/>. Default none.</summary>
    public double? VPredLikeLoss { get; init; }

    /// <summary>
    /// Whether the noise schedule is rescaled so that the last timestep holds no signal (Lin et al. 2024, arXiv:2305.08891),
    /// for models that predict v. Default no;
    /// a model whose scheduler configuration asks for it has it anyway. Draw with the same schedule afterwards.
    /// </summary>
    public bool ZeroTerminalSnr { get; init; }

    /// <summary>
    /// How much regularization images count, training images counting 1; see <see cref="Data.PreparedDataset.WithRegularization"/>. Default 1.
    /// </summary>
    public double PriorLossWeight { get; init; } = 1;

    /// <summary>The first timestep that is trained. Default 0.</summary>
    public int MinTimestep { get; init; }

    /// <summary>The timestep before which training ends; default the schedule's number of timesteps, usually 1000.</summary>
    public int? MaxTimestep { get; init; }

    /// <summary>o of offset noise, see <see cref="TrainingNoise.Offset"/>; 0.05 to 0.1 is usual. Default none.</summary>
    public double? NoiseOffset { get; init; }

    /// <summary>
    /// k, by which the offset grows with the mean of an image's latents; about a tenth of <see cref="NoiseOffset"/> or its own size. Default none.
    /// </summary>
    public double? AdaptiveNoiseScale { get; init; }

    /// <summary>Whether each batch takes a random part, 0 to 1, of <see cref="NoiseOffset"/>. Default no.</summary>
    public bool NoiseOffsetRandomStrength { get; init; }

    /// <summary>The levels of multi-resolution noise, see <see cref="TrainingNoise.MultiResolution"/>; 6 to 10 is usual. Default none.</summary>
    public int? MultiresNoiseIterations { get; init; }

    /// <summary>How much weaker each level of multi-resolution noise is, 0 to 1. Default 0.3.</summary>
    public double MultiresNoiseDiscount { get; init; } = 0.3;

    /// <summary>γ of input perturbation, see <see cref="TrainingNoise.Perturbed"/>; 0.1 is usual. Default none.</summary>
    public double? IpNoiseGamma { get; init; }

    /// <summary>Whether each batch takes a random part, 0 to 1, of <see cref="IpNoiseGamma"/>. Default no.</summary>
    public bool IpNoiseGammaRandomStrength { get; init; }

    /// <summary>The noise schedule to train on.</summary>
    /// <param name="scheduler">The model's.</param>
    /// <exception cref="ArgumentException">These settings do not fit a model of that kind; all faults are listed.</exception>
    internal NoiseSchedule NoiseScheduleFor(SchedulerConfig scheduler)
    {
        var schedule = new NoiseSchedule(ZeroTerminalSnr ? scheduler with { RescaleBetasZeroSnr = true } : scheduler);
        var faults = new Faults();
        faults.Require(
            !ZeroTerminalSnr || schedule.PredictionType != PredictionType.Epsilon,
            "ZeroTerminalSnr: got true for a model that predicts ε, expected one that predicts v: "
                + "at the last timestep ε is the whole input, so that nothing can be learnt from it");
        faults.Require(
            !ScaleVPredLossLikeNoisePred || schedule.PredictionType == PredictionType.VPrediction,
            $"ScaleVPredLossLikeNoisePred: got true for a model that predicts {schedule.PredictionType}, expected one that predicts v");
        faults.Require(
            VPredLikeLoss is null || schedule.PredictionType == PredictionType.Epsilon,
            $"VPredLikeLoss: got {VPredLikeLoss} for a model that predicts {schedule.PredictionType}, expected one that predicts ε");
        faults.Require(
            MinTimestep < (MaxTimestep ?? schedule.NumTrainTimesteps) && (MaxTimestep ?? 0) <= schedule.NumTrainTimesteps,
            $"MinTimestep, MaxTimestep: got {MinTimestep} and {MaxTimestep?.ToString() ?? "none"}, "
                + $"expected 0 ≤ min < max ≤ {schedule.NumTrainTimesteps}, the model's number of timesteps");
        Faults.ThrowIfAny(faults);
        return schedule;
    }

    private void ValidateObjective(Faults faults)
    {
        faults.Require(Enum.IsDefined(LossType), $"LossType: got {LossType}, expected one of {string.Join(", ", Enum.GetNames<LossType>())}");
        faults.Require(
            Enum.IsDefined(HuberSchedule),
            $"HuberSchedule: got {HuberSchedule}, expected one of {string.Join(", ", Enum.GetNames<HuberSchedule>())}");
        faults.Require(HuberC is > 0 and <= 1, $"HuberC: got {HuberC}, expected more than 0 and at most 1; 0.1 is usual");
        faults.Require(IsPositive(HuberScale), $"HuberScale: got {HuberScale}, expected a positive number; 1 is usual");
        faults.Require(MinSnrGamma is null || IsPositive(MinSnrGamma.Value), $"MinSnrGamma: got {MinSnrGamma}, expected a positive number; 5 is usual");
        faults.Require(
            VPredLikeLoss is null || IsPositive(VPredLikeLoss.Value),
            $"VPredLikeLoss: got {VPredLikeLoss}, expected a positive number, or null for none");
        faults.Require(double.IsFinite(PriorLossWeight) && PriorLossWeight >= 0, $"PriorLossWeight: got {PriorLossWeight}, expected 0 or more; 1 is usual");
        faults.Require(
            MinTimestep >= 0 && (MaxTimestep is null || MaxTimestep > MinTimestep),
            $"MinTimestep, MaxTimestep: got {MinTimestep} and {MaxTimestep?.ToString() ?? "none"}, expected 0 ≤ min < max");
        faults.Require(
            NoiseOffset is null || IsPositive(NoiseOffset.Value),
            $"NoiseOffset: got {NoiseOffset}, expected a positive number, or null for none; 0.05 is usual");
        faults.Require(
            AdaptiveNoiseScale is null || (double.IsFinite(AdaptiveNoiseScale.Value) && NoiseOffset is not null),
            $"AdaptiveNoiseScale: got {AdaptiveNoiseScale} with NoiseOffset {NoiseOffset?.ToString() ?? "none"}, "
                + "expected a finite number together with a NoiseOffset");
        faults.Require(
            MultiresNoiseIterations is null or > 0,
            $"MultiresNoiseIterations: got {MultiresNoiseIterations}, expected a positive number, or null for none; 6 is usual");
        faults.Require(MultiresNoiseDiscount is >= 0 and <= 1, $"MultiresNoiseDiscount: got {MultiresNoiseDiscount}, expected 0 to 1; 0.3 is usual");
        faults.Require(
            IpNoiseGamma is null || IsPositive(IpNoiseGamma.Value),
            $"IpNoiseGamma: got {IpNoiseGamma}, expected a positive number, or null for none; 0.1 is usual");
    }
}
