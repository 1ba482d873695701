namespace LoraNotebooks.Training;

/// <summary>A run's numbers, samples and files, whatever was trained.</summary>
public abstract class TrainingResult : IDisposable
{
    /// <summary>What was trained.</summary>
    public required TrainingTask Task { get; init; }

    /// <summary>The settings of the run.</summary>
    public required TrainingConfig Config { get; init; }

    /// <summary>The planned steps.</summary>
    public required TrainingPlan Plan { get; init; }

    /// <summary>What each step did; of a resumed run only its own steps.</summary>
    public required IReadOnlyList<TrainingStep> Steps { get; init; }

    /// <summary>The samples made on the way.</summary>
    public required IReadOnlyList<TrainingSample> Samples { get; init; }

    /// <summary>
    /// The adapted layers that no gradient reached, as network.layer, e.g. "text_encoder.text_model.encoder.layers.11.mlp.fc1"; they are saved as
    /// they began, as no change. The loss does not depend on them.
    /// Of Stable Diffusion: what conditions the UNet comes from before them, in SDXL from before the last
    /// layer of the first text encoder (the second's pooled text comes from its last), and with clip skip from further before. Otherwise empty.
    /// </summary>
    public IReadOnlyList<string> UntrainedLayers { get; init; } = [];

    /// <summary>What works, but perhaps not as meant: <see cref="TrainingPlan.Warnings"/>, and what resuming changes.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>All adapter files that were written, in order, of a resumed run only its own; the last one is <see cref="File"/>.</summary>
    public required IReadOnlyList<string> Checkpoints { get; init; }

    /// <summary>The file that a stopped run is resumed from, see <see cref="LoraTrainer.ResumeFrom"/>.</summary>
    public required string StateFile { get; init; }

    /// <summary>
    /// The record of the run: settings, seed, hashes of the data and of the base model, losses,
    /// and what each part of it was computed on: processor, libtorch, threads, kernels, versions.
    /// </summary>
    public required string RecordFile { get; init; }

    /// <summary>Whether the run was cancelled before its last step.</summary>
    public required bool WasCancelled { get; init; }

    /// <summary>Seconds that the run took, with everything.</summary>
    public required double Seconds { get; init; }

    /// <summary>The adapter as it was at the end: of Stable Diffusion in kohya's format, which most tools read, else PEFT's folder.</summary>
    public string File => Checkpoints[^1];

    /// <summary>Takes the adapter off the model.</summary>
    public void Dispose()
    {
        Task.Dispose();
        GC.SuppressFinalize(this);
    }
}

/// <summary>What a run left behind. The adapter stays attached to the model, ready to use, until this is disposed.</summary>
/// <typeparam name="TLora">What the task leaves: an adapter on its model.</typeparam>
public sealed class TrainingResult<TLora> : TrainingResult
{
    /// <summary>The trained adapter on the model.</summary>
    public required TLora Lora { get; init; }
}
