using LoraNotebooks.Diffusion;
using static TorchSharp.torch;

namespace LoraNotebooks.Training;

/// <summary>How much each timestep counts in the loss.</summary>
public static class LossWeighting
{
    /// <summary>
    /// Min-SNR-γ (Hang et al. 2023, arXiv:2303.09556, equation 4): the easy timesteps with little noise count no more than γ allows.
    /// min(SNR<sub>t</sub>, γ)/SNR<sub>t</sub> for a model that predicts ε, min(SNR<sub>t</sub>, γ)/(SNR<sub>t</sub> + 1) for v, min(SNR<sub>t</sub>, γ) for x₀.
    /// </summary>
    /// <param name="schedule">The noise schedule, which also tells what the model predicts.</param>
    /// <param name="timesteps">t, [N] whole numbers.</param>
    /// <param name="gamma">γ, 5 in the paper.</param>
    /// <returns>[N], float32.</returns>
    /// <remarks>Source: kohya-ss/sd-scripts, library/custom_train_functions.py, <c>apply_snr_weight</c>.</remarks>
    public static Tensor MinSnr(NoiseSchedule schedule, Tensor timesteps, double gamma)
    {
        ArgumentNullException.ThrowIfNull(schedule);
        ArgumentNullException.ThrowIfNull(timesteps);
        using var scope = NewDisposeScope();
        var snr = schedule.Snr(timesteps);
        var clipped = snr.clamp(max: gamma);
        return (schedule.PredictionType switch
        {
            PredictionType.Epsilon => clipped / snr,
            PredictionType.VPrediction => clipped / (snr + 1),
            _ => clipped,
        }).MoveToOuterDisposeScope();
    }
}
