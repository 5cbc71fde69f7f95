/* Stands in for TensorRT's own libraries of another version: enough to be asked
 * which version it is, and nothing more. */
int getInferLibVersion(void) { return VERSION; }
void* createInferBuilder_INTERNAL(void* logger, int version) { (void)logger, (void)version; return 0; }
void* createInferRuntime_INTERNAL(void* logger, int version) { (void)logger, (void)version; return 0; }
void* createNvOnnxParser_INTERNAL(void* network, void* logger, int version) {
  (void)network, (void)logger, (void)version;
  return 0;
}
