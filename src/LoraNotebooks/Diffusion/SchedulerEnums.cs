namespace LoraNotebooks.Diffusion;

/// <summary>How β<sub>t</sub>, the variance of the noise added at training step t, grows.</summary>
public enum BetaSchedule
{
    /// <summary>β is linear in t (Ho et al. 2020, arXiv:2006.11239).</summary>
    Linear,

    /// <summary>√β is linear in t (Rombach et al. 2022, arXiv:2112.10752; Stable Diffusion).</summary>
    ScaledLinear,

    /// <summary>ᾱ follows cos², β at most 0.999 (Nichol and Dhariwal 2021, arXiv:2102.09672, equation 17).</summary>
    SquaredCosCapV2,
}

/// <summary>What the UNet's output means, given x<sub>t</sub> = √ᾱ·x₀ + √(1−ᾱ)·ε.</summary>
public enum PredictionType
{
    /// <summary>The noise ε.</summary>
    Epsilon,

    /// <summary>The velocity v = √ᾱ·ε − √(1−ᾱ)·x₀ (Salimans and Ho 2022, arXiv:2202.00512, appendix D).</summary>
    VPrediction,

    /// <summary>The clean sample x₀.</summary>
    Sample,
}

/// <summary>Which of the training timesteps a sampler visits (Lin et al. 2024, arXiv:2305.08891, table 2).</summary>
public enum TimestepSpacing
{
    /// <summary>Multiples of ⌊T/n⌋ from 0, plus the offset: never the last timestep.</summary>
    Leading,

    /// <summary>Evenly from 0 to T−1, both included.</summary>
    Linspace,

    /// <summary>T−1 downwards in steps of T/n: always the last timestep; needed with zero terminal SNR.</summary>
    Trailing,
}

/// <summary>Which noise level a σ-sampler ends at.</summary>
public enum FinalSigma
{
    /// <summary>σ = 0: the last step gives the clean sample.</summary>
    Zero,

    /// <summary>σ of the first training timestep.</summary>
    SigmaMin,
}

/// <summary>How the noise levels of a σ-sampler are spaced (WebUI's "schedule type").</summary>
public enum SigmaSpacing
{
    /// <summary>As the timesteps are ("Normal", "Uniform").</summary>
    Timesteps,

    /// <summary>Evenly in σ<sup>1/7</sup>: more steps at low noise (Karras et al. 2022, arXiv:2206.00364, equation 5).</summary>
    Karras,

    /// <summary>Evenly in log σ.</summary>
    Exponential,
}
