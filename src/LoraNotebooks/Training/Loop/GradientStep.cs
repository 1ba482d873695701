using LoraNotebooks.Tensors;
using LoraNotebooks.Training.Optimizers;
using static TorchSharp.torch;

namespace LoraNotebooks.Training.Loop;

/// <summary>One step: from the losses of some batches to gradients and an update.</summary>
/// <param name="optimizer">Holds the parameters.</param>
/// <param name="maxGradientNorm">The norm that all gradients together are clipped to; <see langword="null"/>: no clipping.</param>
internal sealed class GradientStep(OptimizerRun optimizer, double? maxGradientNorm)
{
    /// <summary>Accumulates the gradients of some batches, each an equal part of the loss, and updates the parameters once.</summary>
    /// <param name="count">The number of batches.</param>
    /// <param name="lossOf">The mean loss of the batch of a number from 0, with its graph; tensors made on the way are freed after its backward pass.</param>
    /// <param name="learningRates">η of each group of the optimizer.</param>
    /// <param name="cancellationToken">Stops between two batches; what they had accumulated is then dropped.</param>
    /// <exception cref="OperationCanceledException">The step was cancelled; the parameters are as before.</exception>
    public UpdateResult Take(int count, Func<int, Tensor> lossOf, IReadOnlyList<double> learningRates, CancellationToken cancellationToken = default)
    {
        var result = new UpdateResult(0, double.NaN);
        try
        {
            for (var i = 0; i < count; i++)
            {
                cancellationToken.ThrowIfCancellationRequested();
                using var scope = NewDisposeScope();
                var loss = lossOf(i).Over(count);
                result = result with { Loss = result.Loss + loss.item<float>() };
                if (!double.IsFinite(result.Loss))
                {
                    return result;
                }

                loss.backward();
            }

            return result with { GradientNorm = optimizer.Step(learningRates, maxGradientNorm) };
        }
        finally
        {
            optimizer.ClearGradients();
        }
    }
}
